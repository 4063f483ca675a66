//! The narrow interface between the ledger's logic and the rows of the hot tables.
//!
//! It has two implementations with the same results: `direct`, without the executor, and `spi`. The
//! direct path is used for the tables that support it. Each table is checked once, and again after
//! it has changed. `wallet.storage = spi` forces the SPI path.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::direct::table::{Access, Table, Which};
use crate::storage::direct::{holds, lanes, ledger, prices, rules, thresholds, unread, windows};
use crate::storage::hold_rows::{self, Hold, NewHold, Source};
use crate::storage::rows::{
    AllowanceId, Call, Changed, Counted, Entry, Lane, Link, Markup, NewWindow, PriceRow, RateRow,
    RuleRows, Taking, ThresholdRow, Used, Wanted, Window,
};
pub use crate::storage::spi::{
    give_back, lock_lane, lock_window, new_lane, read_window, set_levels, try_lane, write_window,
};
use crate::storage::{lock, spi};

/// `wallet.storage`
static STORAGE: GucSetting<Storage> = GucSetting::<Storage>::new(Storage::Auto);

/// The implementation to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, pgrx::PostgresGucEnum)]
pub enum Storage {
    /// The direct path for tables that support it, SPI otherwise.
    Auto,
    /// SPI always.
    Spi,
}

/// Defines the setting; called once, when the library is loaded.
pub fn register() {
    GucRegistry::define_enum_guc(
        c"wallet.storage",
        c"How the wallet reaches its hot tables.",
        c"auto goes without the executor where that is right; spi never does.",
        &STORAGE,
        GucContext::Userset,
        GucFlags::default(),
    );
}

fn direct(which: Which, access: Access) -> Option<Table> {
    if STORAGE.get() == Storage::Spi {
        None
    } else {
        Table::open(which, access)
    }
}

/// Announces that lanes and windows are about to be written, so that their table is opened only
/// once.
pub fn begin_writing() {
    direct(Which::Allowances, Access::Write);
}

/// Locks the ledger for the entries that this transaction books. See `lock::stop_bookings`.
pub fn begin_booking() {
    if direct(Which::Ledger, Access::Write).is_none() {
        lock::begin_booking();
    }
}

/// The lane as it was last committed (or changed by this transaction), without a lock.
pub fn read_lane(wallet: &str, lane: i16) -> Result<Option<Lane>> {
    match direct(Which::Allowances, Access::Read) {
        Some(table) => lanes::read_lane(&table, wallet, lane),
        None => spi::read_lane(wallet, lane),
    }
}

/// Reads what is wanted of a wallet's rules. `None` if there is no wallet with that name.
pub fn read_rules(wallet: &str, wanted: Wanted) -> Result<Option<RuleRows>> {
    let tables = [Which::Wallets, Which::Allowances].map(|which| direct(which, Access::Read));
    let answer = match tables {
        [Some(wallets), Some(allowances)] => {
            rules::read_rules(&wallets, &allowances, wallet, wanted)?
        }
        _ => rules::Answer::Elsewhere,
    };
    match answer {
        rules::Answer::WalletConfig(rows) => Ok(Some(rows)),
        rules::Answer::None => Ok(None),
        rules::Answer::Elsewhere => spi::read_rules(wallet, wanted),
    }
}

/// All prices of a list for an exact model name, past and future ones too.
pub fn read_prices(list: &str, model: &str) -> Result<Vec<PriceRow>> {
    match direct(Which::Prices, Access::Read) {
        Some(table) => prices::of_model(&table, list, model),
        None => spi::read_prices(list, model),
    }
}

/// All prices of a list whose model is a pattern, past and future ones too.
pub fn read_pattern_prices(list: &str) -> Result<Vec<PriceRow>> {
    match direct(Which::Prices, Access::Read) {
        Some(table) => prices::of_patterns(&table, list),
        None => spi::read_pattern_prices(list),
    }
}

/// The rate of a currency pair that is in effect at a time, and when the next rate begins.
pub fn read_rates(
    from: &str,
    to: &str,
    at: Timestamp,
) -> Result<(Option<RateRow>, Option<Timestamp>)> {
    match direct(Which::Rates, Access::Read) {
        Some(table) => prices::rates(&table, from, to, at),
        None => spi::read_rates(from, to, at),
    }
}

/// All markups of a list, past and future ones too.
pub fn read_markups(list: &str) -> Result<Vec<Markup>> {
    match direct(Which::Markups, Access::Read) {
        Some(table) => prices::markups(&table, list),
        None => spi::read_markups(list),
    }
}

/// All alert thresholds of a wallet.
pub fn read_thresholds(wallet: &str) -> Result<Vec<ThresholdRow>> {
    match direct(Which::Thresholds, Access::Read) {
        Some(table) => thresholds::read(&table, wallet),
        None => spi::read_thresholds(wallet),
    }
}

/// Whether a place in usage objects is recorded, by a committed transaction or by this one.
pub fn is_noted(wallet: &str, path_id: [u8; 16]) -> Result<bool> {
    match direct(Which::UnreadPaths, Access::Read) {
        Some(table) => unread::is_noted(&table, wallet, path_id),
        None => spi::is_noted(wallet, path_id),
    }
}

/// The names and texts of all stored usage mappings, in the order of the names.
pub fn read_mappings() -> Result<Vec<(String, String)>> {
    match direct(Which::Mappings, Access::Read) {
        Some(table) => prices::mappings(&table),
        None => spi::read_mappings(),
    }
}

/// All lanes of the balance in ascending order, without a lock.
pub fn read_lanes(wallet: &str) -> Result<Vec<Lane>> {
    match direct(Which::Allowances, Access::Read) {
        Some(table) => lanes::read_lanes(&table, wallet),
        None => spi::read_lanes(wallet),
    }
}

/// The sum of balance and credit in all lanes except one, as last committed.
pub fn credited_elsewhere(wallet: &str, lane: i16) -> Result<Amount> {
    match direct(Which::Allowances, Access::Read) {
        Some(table) => Amount::from_units(lanes::credited_elsewhere(&table, wallet, lane)?)
            .map_err(crate::pg::numeric::overflow),
        None => spi::credited_elsewhere(wallet, lane),
    }
}

/// Writes a lane if no other transaction has changed it since it was read. Returns false otherwise.
pub fn write_lane(wallet: &str, lane: &Lane) -> Result<bool> {
    match direct(Which::Allowances, Access::Write) {
        Some(table) => lanes::write_lane(&table, wallet, lane),
        None => spi::write_lane(wallet, lane),
    }
}

/// The counters of a window's row, as last committed or changed by this transaction.
pub fn read_counted(wallet: &str, window: AllowanceId, lane: i16) -> Result<Option<Counted>> {
    match direct(Which::Allowances, Access::Read) {
        Some(table) => windows::read_counted(&table, wallet, window, lane),
        None => spi::read_counted(wallet, window, lane),
    }
}

/// Adds a window. Returns false if it already exists or another transaction added it first.
pub fn open_window(wallet: &str, new: &NewWindow<'_>) -> Result<bool> {
    match direct(Which::Allowances, Access::Write) {
        Some(table) => windows::open(&table, wallet, new),
        None => spi::open_window(wallet, new),
    }
}

/// Takes an amount from a window. Changes nothing if the row has too little left.
pub fn take(wallet: &str, window: AllowanceId, taking: &Taking) -> Result<Changed<Used>> {
    match direct(Which::Allowances, Access::Write) {
        Some(table) => windows::take(&table, wallet, window, taking),
        None => spi::take(wallet, window, taking),
    }
}

/// Reads a window's row, has `work` change it, and writes it. Writes nothing if `work` returns
/// `None`. Calls `work` again if another transaction has changed the row in the meantime.
pub fn change_window<T>(
    wallet: &str,
    window: AllowanceId,
    cap: Option<Amount>,
    work: impl FnMut(&mut Window) -> Result<Option<T>>,
) -> Result<Changed<T>> {
    match direct(Which::Allowances, Access::Write) {
        Some(table) => windows::change_window(&table, wallet, window, cap, work),
        None => spi::change_window(wallet, window, cap, work),
    }
}

/// Releases from a window the amount of a hold that was made in a lane. Returns the lane of the
/// row; `None` if no row holds as much.
pub fn release_window(
    wallet: &str,
    window: AllowanceId,
    amount: Amount,
    lane: i16,
) -> Result<Option<i16>> {
    match direct(Which::Allowances, Access::Write) {
        Some(table) => windows::release(&table, wallet, window, amount, lane),
        None => spi::release_window(wallet, window, amount, lane),
    }
}

/// Writes the entry. Returns false if its idempotency key is taken. Waits for a transaction that is
/// using the same key. `archived`: whether the wallet has an archive, according to the rules valid
/// while the lane lock is held. No entry of the wallet can move to the archive before this
/// transaction has ended.
pub fn append(entry: &Entry<'_>, link: &Link, archived: bool) -> Result<bool> {
    if archived
        && let Some(key) = entry.key
        && is_archived(entry.wallet, key, entry.call)?
    {
        return Ok(false);
    }
    append_to_ledger(entry, link)
}

fn append_to_ledger(entry: &Entry<'_>, link: &Link) -> Result<bool> {
    match direct(Which::Ledger, Access::Write) {
        Some(table) => ledger::append(&table, entry, link),
        None => spi::append(entry, link),
    }
}

/// Writes the hold. Returns false if its key is taken. Waits for a transaction that is using the
/// same key.
pub fn insert_hold(new: &NewHold<'_>) -> Result<bool> {
    match direct(Which::Reservations, Access::Write) {
        Some(table) => holds::insert(&table, new),
        None => hold_rows::insert(new),
    }
}

/// Reads the hold for [`close_hold`]. The hold is as last committed (or changed by this
/// transaction). It is locked only if a later change by another transaction could not be detected.
pub fn read_hold(wallet: &str, id: [u8; 16]) -> Result<Option<Hold>> {
    match direct(Which::Reservations, Access::Write) {
        Some(table) => holds::read(&table, wallet, id),
        None => hold_rows::lock(wallet, id),
    }
}

/// Writes the new state of a hold from [`read_hold`]. Waits for a transaction that is changing the
/// hold, and returns false if it has changed.
pub fn close_hold(hold: &mut Hold, wallet: &str, closed_at: Timestamp) -> Result<bool> {
    let Source::Table(standing) = &hold.source else {
        hold_rows::write(hold, wallet, Some(closed_at), None)?;
        return Ok(true);
    };
    let Some(table) = direct(Which::Reservations, Access::Write) else {
        return Ok(false);
    };
    let Some(standing) = holds::write(&table, hold, standing, Some(closed_at), None)? else {
        return Ok(false);
    };
    hold.source = Source::Table(standing);
    Ok(true)
}

/// Locks the hold, waiting for the transaction that has it locked. `None` if there is no hold with
/// that id.
pub fn lock_hold(wallet: &str, id: [u8; 16]) -> Result<Option<Hold>> {
    match direct(Which::Reservations, Access::Write) {
        Some(table) => holds::lock(&table, wallet, id),
        None => hold_rows::lock(wallet, id),
    }
}

/// Writes the new state of a hold that this transaction has locked.
pub fn write_hold(
    hold: &mut Hold,
    wallet: &str,
    closed_at: Option<Timestamp>,
    reason: Option<&str>,
) -> Result<()> {
    if let (Source::Table(standing), Some(table)) =
        (&hold.source, direct(Which::Reservations, Access::Write))
    {
        let standing = holds::write(&table, hold, standing, closed_at, reason)?;
        let changed = || Error::internal("a hold changed while it was locked");
        hold.source = Source::Table(standing.ok_or_else(changed)?);
        return Ok(());
    }
    hold_rows::write(hold, wallet, closed_at, reason)
}

/// Returns the indexes of those keys that already have an entry, committed or written by this
/// transaction.
pub fn taken_keys(wallet: &str, keys: &[&str], call: Call, archived: bool) -> Result<Vec<usize>> {
    // The ledger is read first: an entry that has left the ledger by then is in the archive.
    let mut taken = keys_in(Which::Ledger, wallet, keys, call)?;
    if archived {
        taken.extend(keys_in(Which::Archive, wallet, keys, call)?);
    }
    Ok(taken)
}

fn keys_in(which: Which, wallet: &str, keys: &[&str], call: Call) -> Result<Vec<usize>> {
    match direct(which, Access::Read) {
        Some(table) => ledger::taken_keys(&table, which, wallet, keys, call),
        None => spi::taken_keys(which == Which::Archive, wallet, keys, call),
    }
}

/// Whether the archive contains an entry with the key.
pub fn is_archived(wallet: &str, key: &str, call: Call) -> Result<bool> {
    Ok(!keys_in(Which::Archive, wallet, &[key], call)?.is_empty())
}

/// Whether entries are written without the executor.
pub fn appends_directly() -> bool {
    direct(Which::Ledger, Access::Write).is_some()
}

/// Writes consecutive entries of a lane. `uncontended`: no other transaction can be using their
/// keys, because the lane is the wallet's only one and was written before. Returns false if one of
/// the keys is taken. With `uncontended` and direct access, no entry was written in that case.
/// Otherwise some entries may have been written, and the caller must undo them.
pub fn append_all(
    entries: &[(Entry<'_>, Link)],
    uncontended: bool,
    archived: bool,
) -> Result<bool> {
    if archived && any_archived(entries)? {
        return Ok(false);
    }
    if let (true, Some(table)) = (uncontended, direct(Which::Ledger, Access::Write)) {
        return Ok(ledger::append_free(&table, entries));
    }
    for (entry, link) in entries {
        if !append_to_ledger(entry, link)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the archive contains an entry with a key of the given entries, which all have the same
/// wallet and call.
fn any_archived(entries: &[(Entry<'_>, Link)]) -> Result<bool> {
    let Some((first, _)) = entries.first() else {
        return Ok(false);
    };
    let keys: Vec<&str> = entries.iter().filter_map(|(entry, _)| entry.key).collect();
    Ok(!keys_in(Which::Archive, first.wallet, &keys, first.call)?.is_empty())
}
