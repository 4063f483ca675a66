//! Values that are read one by one and cached by key.
//!
//! The cache is a tree over the bits of the key's hash, with four branches per node. No value is
//! moved or removed before the whole tree is dropped. So found values can be borrowed while more
//! are added, behind a shared reference and without unsafe code. The hash has a random seed of its
//! own, so that callers cannot choose keys that make the tree deep.

use std::borrow::Borrow;
use std::cell::{Cell, OnceCell};
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::error::Result;

thread_local! {
    /// The bytes in all trees of this backend.
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// The approximate number of bytes in all trees of this backend.
pub fn bytes() -> usize {
    BYTES.get()
}

/// A type that owns memory outside of its own value.
pub trait Outside {
    /// The approximate number of bytes of that memory.
    fn outside(&self) -> usize;
}

impl Outside for String {
    fn outside(&self) -> usize {
        self.capacity()
    }
}

impl<const N: usize> Outside for [u8; N] {
    fn outside(&self) -> usize {
        0
    }
}

impl<T: Outside> Outside for Option<T> {
    fn outside(&self) -> usize {
        self.as_ref().map_or(0, T::outside)
    }
}

impl<T: Outside> Outside for Vec<T> {
    fn outside(&self) -> usize {
        self.iter().map(|one| size_of::<T>() + one.outside()).sum()
    }
}

/// A cache: each value is read when its key is requested first.
#[derive(Debug)]
pub struct Known<K, V> {
    first: Place<K, V>,
    seed: RandomState,
    bytes: Cell<usize>,
}

type Place<K, V> = OnceCell<Box<Node<K, V>>>;

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    below: [Place<K, V>; 4],
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Known<K, V> {
        Known {
            first: OnceCell::new(),
            seed: RandomState::default(),
            bytes: Cell::new(0),
        }
    }
}

impl<K, V> Drop for Known<K, V> {
    fn drop(&mut self) {
        BYTES.set(BYTES.get().saturating_sub(self.bytes.get()));
    }
}

impl<K: Outside, V: Outside> Known<K, V> {
    /// Returns the value of the key, and reads it first if it is not cached.
    pub fn get_or_read<Q>(&self, key: &Q, read: impl FnOnce() -> Result<V>) -> Result<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Ok(value) = self.find(key) {
            return Ok(value);
        }
        let value = read()?;
        // Searched again from the root, because the place may have been filled during the read.
        let place = match self.find(key) {
            Ok(value) => return Ok(value),
            Err(place) => place,
        };
        let key = key.to_owned();
        let bytes = size_of::<Node<K, V>>() + key.outside() + value.outside();
        self.bytes.set(self.bytes.get() + bytes);
        BYTES.set(BYTES.get() + bytes);
        let node = place.get_or_init(|| {
            Box::new(Node {
                key,
                value,
                below: Default::default(),
            })
        });
        Ok(&node.value)
    }

    /// The value, or the empty place where it belongs.
    fn find<Q>(&self, key: &Q) -> std::result::Result<&V, &Place<K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut place = &self.first;
        let mut hash = self.seed.hash_one(key);
        while let Some(node) = place.get() {
            if node.key.borrow() == key {
                return Ok(&node.value);
            }
            place = &node.below[(hash & 3) as usize];
            hash >>= 2;
        }
        Err(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn each_is_read_once_and_stays_where_it_is() {
        let before = bytes();
        let known: Known<String, Option<String>> = Known::default();
        let first = known
            .get_or_read("key 0", || Ok(Some("value 0".to_owned())))
            .unwrap();
        for n in 1..3000 {
            let value = (n % 3 > 0).then(|| format!("value {n}"));
            let read = known.get_or_read(&*format!("key {n}"), || Ok(value.clone()));
            assert_eq!(read, Ok(&value));
        }
        assert_eq!(first.as_deref(), Some("value 0"));
        for n in 0..3000 {
            let value = (n % 3 > 0 || n == 0).then(|| format!("value {n}"));
            let again = known.get_or_read(&*format!("key {n}"), || Err(Error::internal("again")));
            assert_eq!(again, Ok(&value));
        }
        assert!(bytes() - before > 3000 * size_of::<Node<String, Option<String>>>());
        drop(known);
        assert_eq!(bytes(), before);
    }

    #[test]
    fn what_could_not_be_read_is_read_again() {
        let known: Known<String, Option<String>> = Known::default();
        assert!(
            known
                .get_or_read("key", || Err(Error::internal("once")))
                .is_err()
        );
        assert_eq!(known.get_or_read("key", || Ok(None)), Ok(&None));
    }
}
