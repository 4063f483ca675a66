//! Checks the chains of a wallet's lanes while its entries arrive in the order of their ids. Pure.
//!
//! The order of ids is that of a lane, with two exceptions: fundings that were pending have ids of
//! the time of the request, and calls may run at the same moment. An entry that arrives too early
//! waits for the ones before it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;

use crate::storage::entry_form::hash_after;

/// An entry as its lane sees it.
pub struct Item {
    /// The entry's number in the lane.
    pub seq: i64,
    /// The entry's amount, in units.
    pub amount: i128,
    /// The running total that the entry states, in units.
    pub lane_balance: i128,
    /// The hash that the entry states.
    pub hash: [u8; 32],
    /// The form that the entry would have as the first one of a chain.
    pub form: Vec<u8>,
}

/// The head of a lane, as stored in the lane.
pub struct Head {
    /// The number of the last entry.
    pub seq: i64,
    /// The sum of the entries, in units.
    pub booked: i128,
    /// The hash of the last entry. Empty if there is none.
    pub hash: Vec<u8>,
}

#[derive(Default)]
struct Chain {
    seq: i64,
    total: i128,
    hash: Option<[u8; 32]>,
    waiting: BTreeMap<i64, Item>,
}

/// Most bytes of entries that may wait.
const MOST_WAITING: usize = 32 << 20;

/// The chains of a wallet.
#[derive(Default)]
pub struct Chains {
    lanes: BTreeMap<i16, Chain>,
    waiting: usize,
    is_broken: bool,
}

impl Chains {
    /// Continues the chain of a lane with an entry.
    pub fn add(&mut self, lane: i16, item: Item) {
        if self.is_broken {
            return;
        }
        let chain = self.lanes.entry(lane).or_default();
        if item.seq > chain.seq + 1 {
            self.waiting += item.form.len();
            match chain.waiting.entry(item.seq) {
                Place::Vacant(place) => drop(place.insert(item)),
                Place::Occupied(_) => self.is_broken = true,
            }
            self.is_broken |= self.waiting > MOST_WAITING;
            return;
        }
        let mut next = Some(item);
        while let Some(item) = next {
            if !chain.follow(&item) {
                self.is_broken = true;
                return;
            }
            next = chain.waiting.remove(&(chain.seq + 1));
            if let Some(item) = &next {
                self.waiting -= item.form.len();
            }
        }
    }

    /// Notes an entry whose form cannot be built.
    pub fn fail(&mut self) {
        self.is_broken = true;
    }

    /// The number of lanes, including those that only have a head.
    pub fn count_lanes(&self, heads: &BTreeMap<i16, Head>) -> i64 {
        let others = heads.keys().filter(|lane| !self.lanes.contains_key(lane));
        (self.lanes.len() + others.count()) as i64
    }

    /// True if every chain is complete and ends at the head that its lane states. False also if too
    /// many entries had to wait.
    pub fn end_at(&self, heads: &BTreeMap<i16, Head>) -> bool {
        let is_at_head = |(lane, chain): (&i16, &Chain)| {
            chain.waiting.is_empty()
                && heads.get(lane).is_some_and(|head| {
                    (head.seq, head.booked) == (chain.seq, chain.total)
                        && head.hash == chain.hash.as_ref().map_or(&[][..], |hash| hash)
                })
        };
        let is_empty = |head: &Head| head.seq == 0 && head.booked == 0 && head.hash.is_empty();
        !self.is_broken
            && self.lanes.iter().all(is_at_head)
            && heads
                .iter()
                .all(|(lane, head)| self.lanes.contains_key(lane) || is_empty(head))
    }
}

impl Chain {
    /// True if the entry is the next one and states the right total and hash.
    fn follow(&mut self, item: &Item) -> bool {
        let Some(total) = self.total.checked_add(item.amount) else {
            return false;
        };
        let hash = hash_after(self.hash, &item.form);
        let is_right = item.seq == self.seq + 1 && item.lane_balance == total && item.hash == hash;
        (self.seq, self.total, self.hash) = (item.seq, total, Some(hash));
        is_right
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    /// A chain of `length` entries of one unit.
    fn chain(length: i64) -> Vec<Item> {
        let mut previous = [0; 32];
        (1..=length)
            .map(|seq| {
                let rest = format!("entry {seq}");
                let hashed = [&previous[..], rest.as_bytes()].concat();
                let hash: [u8; 32] = Sha256::digest(hashed).into();
                previous = hash;
                Item {
                    seq,
                    amount: 1,
                    lane_balance: seq.into(),
                    hash,
                    form: [&[0; 32], rest.as_bytes()].concat(),
                }
            })
            .collect()
    }

    fn heads(items: &[Item]) -> BTreeMap<i16, Head> {
        let head = items.last().map(|last| Head {
            seq: last.seq,
            booked: last.lane_balance,
            hash: last.hash.to_vec(),
        });
        head.into_iter().map(|head| (0, head)).collect()
    }

    fn is_whole(items: Vec<Item>, heads: &BTreeMap<i16, Head>) -> bool {
        let mut chains = Chains::default();
        items.into_iter().for_each(|item| chains.add(0, item));
        chains.end_at(heads)
    }

    proptest! {
        #[test]
        fn a_chain_is_whole_in_any_order_and_not_with_a_change(
            length in 1_i64..40,
            order in prop::collection::vec(any::<u32>(), 40),
            at in any::<prop::sample::Index>(),
            change in 0..7,
        ) {
            let heads = heads(&chain(length));
            let shuffled = |mut items: Vec<Item>| {
                items.sort_by_key(|item| order[item.seq as usize % 40]);
                items
            };
            prop_assert!(is_whole(shuffled(chain(length)), &heads));
            let mut items = chain(length);
            let at = at.index(items.len());
            match change {
                0 => drop(items.remove(at)),
                1 => items[at].amount += 1,
                2 => items[at].lane_balance += 1,
                3 => items[at].hash[31] ^= 1,
                4 => items[at].form.push(b' '),
                5 => items[at].seq += 1,
                _ => {
                    let again = chain(length).swap_remove(at);
                    items.push(again);
                }
            }
            prop_assert!(!is_whole(shuffled(items), &heads));
        }
    }

    #[test]
    fn a_lane_states_its_last_entry() {
        let mut wrong = heads(&chain(3));
        wrong.insert(
            1,
            Head {
                seq: 1,
                booked: 0,
                hash: Vec::new(),
            },
        );
        assert!(!is_whole(chain(3), &wrong), "an entry that is not there");
        assert!(!is_whole(chain(4), &heads(&chain(3))));
        assert!(!is_whole(chain(2), &heads(&chain(3))));
        assert!(!is_whole(chain(2), &BTreeMap::new()), "no lane");
        assert!(is_whole(Vec::new(), &BTreeMap::new()));
    }
}
