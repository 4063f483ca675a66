//! Voucher codes: money that anybody who knows the code can redeem.
//!
//! A redemption is a funding with the method `voucher` and the voucher's id as its reference. The
//! unique reference prevents a wallet from redeeming a voucher twice. The voucher's row is locked
//! after the wallet's row and limits the number of redemptions over all wallets.

use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::funding::fund::fund;
use crate::ledger::funding::request::{Funded, Funding, VOUCHER};
use crate::ledger::grants::terms::Terms;
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::wallet_row::lock_wallet;

statement!(
    CREATE,
    [
        BYTEAOID,
        UUIDOID,
        NUMERICOID,
        TEXTOID,
        TIMESTAMPTZOID,
        INT4OID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID,
        JSONBOID
    ],
    "INSERT INTO wallet.vouchers
        (code_hash, voucher_id, amount, currency, expires_at, max_redemptions, created_at, actor,
         metadata, scope)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     ON CONFLICT DO NOTHING"
);

statement!(
    LOCK,
    [BYTEAOID],
    "SELECT voucher_id, amount, currency, expires_at, max_redemptions, redemptions,
            scope
       FROM wallet.vouchers WHERE code_hash = $1 FOR NO KEY UPDATE"
);

statement!(
    COUNT,
    [BYTEAOID],
    "UPDATE wallet.vouchers SET redemptions = redemptions + 1 WHERE code_hash = $1"
);

statement!(
    REDEEMED,
    [TEXTOID, TEXTOID],
    "SELECT entry_id FROM wallet.funding_requests
      WHERE wallet_id = $1 AND method = 'voucher' AND reference = $2"
);

fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code).into()
}

/// The arguments of `create_voucher`.
pub struct NewVoucher<'a> {
    /// The code in clear, of which only the SHA-256 is stored.
    pub code: &'a str,
    /// The value of one redemption.
    pub amount: Amount,
    /// The currency of the value.
    pub currency: &'a str,
    /// The time until which the voucher can be redeemed; `None` if it does not expire.
    pub expires_at: Option<Timestamp>,
    /// The number of wallets that may redeem it.
    pub max_redemptions: i32,
    /// The models and services that the credit may pay for; `None` for all.
    pub scope: Option<Jsonb>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// Creates a voucher and returns its id.
pub fn create(new: &NewVoucher<'_>, call: IdempotentCall<'_>) -> Result<[u8; 16]> {
    let hash = hash(new.code);
    if call.answered()?.is_some() {
        let known = LOCK.run(&[Value::Bytes(&hash)])?;
        return known.need(0, 0);
    }
    let id = uuid::Uuid::now_v7().into_bytes();
    let rows = CREATE.run(&[
        Value::Bytes(&hash),
        Value::Uuid(id),
        Value::Amount(new.amount),
        Value::Text(new.currency),
        Value::OptTime(new.expires_at),
        Value::Int4(new.max_redemptions),
        Value::Time(clock::now()),
        Value::OptText(new.actor),
        Value::OptJsonb(new.metadata.as_ref().map(|document| document.value)),
        Value::OptJsonb(new.scope),
    ])?;
    if rows.is_empty() {
        return Err(Error::new(
            Code::UniqueViolation,
            "a voucher of that code exists already",
        )
        .detail("Codes are unique in a database, also those that are used up.")
        .hint("Choose another code.")
        .constraint("vouchers", "vouchers_pkey"));
    }
    call.remember(None)?;
    Ok(id)
}

/// The arguments of `redeem`.
pub struct Redemption<'a> {
    /// Id of the wallet that is credited.
    pub wallet: &'a str,
    /// The code in clear, as the customer enters it.
    pub code: &'a str,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

fn not_valid(detail: &str) -> Error {
    Error::new(Code::VoucherNotValid, "the voucher is not valid")
        .detail(detail.to_owned())
        .hint("Check the code, or ask whoever issued it.")
}

/// Credits the wallet with the voucher's value.
pub fn redeem(redemption: &Redemption<'_>, call: IdempotentCall<'_>) -> Result<Funded> {
    let wallet = redemption.wallet;
    lock_wallet(wallet)?;
    let answered = call.answered()?.is_some();
    let rules = config::read(wallet)?;
    rules.require_open(wallet)?;
    rules.require_own_money(wallet)?;
    let hash = hash(redemption.code);
    let voucher = LOCK.run(&[Value::Bytes(&hash)])?;
    if voucher.is_empty() {
        return Err(not_valid("There is no voucher of that code."));
    }
    let reference = uuid_text(voucher.need(0, 0)?);
    let currency: String = voucher.need(0, 2)?;
    let mut funding = Funding {
        wallet,
        amount: voucher.amount(0, 1)?,
        method: VOUCHER,
        reference: Some(&reference),
        currency: Some(&currency),
        rate: None,
        pending: false,
        terms: Terms {
            scope: voucher.datum(0, 6).map(Jsonb),
            ..Terms::default()
        },
        bounded: false,
        key: None,
        actor: redemption.actor,
        metadata: redemption.metadata.clone(),
    };
    if answered {
        // The reference finds the funding that the first call booked.
        funding.actor = None;
        return fund(&funding);
    }
    let redeemed = REDEEMED.run(&[Value::Text(wallet), Value::Text(&reference)])?;
    if !redeemed.is_empty() {
        return Err(not_valid("This wallet has redeemed it before."));
    }
    if voucher
        .get::<Timestamp>(0, 3)
        .is_some_and(|end| end <= clock::now())
    {
        return Err(not_valid("It has expired."));
    }
    let (most, count): (i32, i32) = (voucher.need(0, 4)?, voucher.need(0, 5)?);
    if count >= most {
        return Err(not_valid("It was redeemed as often as it may be."));
    }
    COUNT.run(&[Value::Bytes(&hash)])?;
    let funded = fund(&funding)?;
    call.remember(None)?;
    Ok(funded)
}
