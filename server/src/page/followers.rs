//! How many browsers follow the balance with one key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The most browsers of a key. Whoever opens more of them leaves places to others.
const OF_A_KEY: usize = 8;

/// The browsers that follow the balance with each key.
pub type Followers = Arc<Mutex<HashMap<String, usize>>>;

/// A place of a key. It is free again when this is dropped.
pub struct Place {
    followers: Followers,
    key_id: String,
}

impl Place {
    /// A place for a key, unless it has all that a key may have.
    pub fn take(followers: &Followers, key_id: &str) -> Option<Place> {
        let mut counts = followers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key_id.to_owned()).or_default();
        if *count >= OF_A_KEY {
            return None;
        }
        *count += 1;
        Some(Place {
            followers: followers.clone(),
            key_id: key_id.to_owned(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = self.followers.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key_id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key_id);
            }
        }
    }
}
