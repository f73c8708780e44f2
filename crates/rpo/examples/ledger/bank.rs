//! The bank itself: accounts, transfers, and the rules that must hold. Knows nothing of logs, disks or copies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What every account starts with.
pub const OPENING_BALANCE: i64 = 1_000;

/// One movement of money: what goes into the log, one per commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// The bank's own number of it; also the transaction id in the log.
    pub id: u64,
    /// Account that pays.
    pub from: u32,
    /// Account that is paid.
    pub to: u32,
    /// How much; at least 1.
    pub amount: i64,
}

/// Why a transfer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such account.
    #[error("transfer {id}: there is no account {account}")]
    NoAccount {
        /// The transfer.
        id: u64,
        /// The account.
        account: u32,
    },
    /// Only positive amounts between two different accounts move.
    #[error("transfer {0}: the amount must be positive and the accounts different")]
    Senseless(u64),
    /// The same number was booked before.
    #[error("transfer {0} was booked before")]
    Twice(u64),
}

/// Accounts and everything that was ever booked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bank {
    balances: Vec<i64>,
    journal: BTreeMap<u64, Transfer>,
}

impl Bank {
    /// A bank of `accounts` accounts with [`OPENING_BALANCE`] each.
    pub fn open(accounts: u32) -> Self {
        Self { balances: vec![OPENING_BALANCE; accounts as usize], journal: BTreeMap::new() }
    }

    /// Rebuilds a bank from its parts, as a checkpoint holds them.
    pub fn from_parts(balances: Vec<i64>, journal: impl IntoIterator<Item = Transfer>) -> Self {
        Self { balances, journal: journal.into_iter().map(|t| (t.id, t)).collect() }
    }

    /// Says whether `transfer` may be booked, without booking it.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn check(&self, transfer: &Transfer) -> Result<(), Refused> {
        if transfer.amount <= 0 || transfer.from == transfer.to {
            return Err(Refused::Senseless(transfer.id));
        }
        let unknown = [transfer.from, transfer.to].into_iter().find(|a| *a as usize >= self.balances.len());
        if let Some(account) = unknown {
            return Err(Refused::NoAccount { id: transfer.id, account });
        }
        if self.journal.contains_key(&transfer.id) { Err(Refused::Twice(transfer.id)) } else { Ok(()) }
    }

    /// Books `transfer`: both sides or neither.
    ///
    /// # Errors
    /// The rule it breaks; nothing is booked.
    pub fn book(&mut self, transfer: Transfer) -> Result<(), Refused> {
        self.check(&transfer)?;
        self.balances[transfer.from as usize] -= transfer.amount;
        self.balances[transfer.to as usize] += transfer.amount;
        self.journal.insert(transfer.id, transfer);
        Ok(())
    }

    /// What each account holds.
    pub fn balances(&self) -> &[i64] {
        &self.balances
    }

    /// Everything that was booked, by number.
    pub fn journal(&self) -> impl Iterator<Item = &Transfer> {
        self.journal.values()
    }

    /// The next free number.
    pub fn next_id(&self) -> u64 {
        self.journal.keys().next_back().map_or(1, |last| last + 1)
    }

    /// Audits the books: each rule with what is wrong, if anything.
    pub fn audit(&self) -> Vec<(String, Option<String>)> {
        let expected = OPENING_BALANCE * self.balances.len() as i64;
        let found: i64 = self.balances.iter().sum();
        let conserved = (found != expected).then(|| format!("{found} in all accounts, expected {expected}"));

        let mut replayed = Bank::open(self.balances.len() as u32);
        let refused = self.journal.values().find_map(|t| replayed.book(t.clone()).err());
        let books = match refused {
            Some(refused) => Some(refused.to_string()),
            None => (replayed.balances != self.balances)
                .then(|| "the journal does not lead to the balances".to_owned()),
        };
        vec![
            ("money is conserved".to_owned(), conserved),
            ("the journal explains the balances".to_owned(), books),
        ]
    }
}
