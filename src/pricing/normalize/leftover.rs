//! Numbers of an object that its mapping does not count. Pure.

use crate::pg::jsonb::Json;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::numbers::{Walk, is_zero};
use crate::pricing::normalize::reading::Reading;
use crate::pricing::usage::Unread;

impl<'a> Reading<'a> {
    /// A key of the whole object, outside of the usage object, that has a meter's name and a number
    /// other than zero that no path has led to.
    pub(super) fn stranger(&self) -> Option<&'a str> {
        let seen = self.seen.borrow();
        self.root.iter().find_map(|(key, value)| {
            let is_strange = matches!(value, Json::Number(number) if !is_zero(number))
                && is_known_meter(key)
                && !seen.iter().any(|one| std::ptr::eq(*one, value));
            is_strange.then_some(&**key)
        })
    }

    /// Walks over the numbers of the usage object, and of other objects that the mapping must read
    /// in full (`also`).
    pub(super) fn walks(&self) -> Vec<Walk<'a, 'a>> {
        let own = Walk::new(self.fit.usage, self.fit.shape.at.as_ref());
        let mut walks = vec![own];
        for path in &self.fit.body.also {
            path.each(self.root, |json| {
                let object = json.as_object();
                walks.extend(object.map(|object| Walk::new(object, Some(path))));
            });
        }
        walks
    }

    /// Numbers that the mapping does not know.
    pub(super) fn unread(&self) -> Vec<Unread> {
        let seen = self.seen.borrow();
        let walks = self.walks();
        if walks.iter().all(|walk| walk.all_in(&seen)) {
            return Vec::new();
        }
        let covered = self.not_billed();
        let covered: Vec<&Json> = covered.iter().map(|(json, _)| *json).collect();
        let unread = walks.iter().map(|walk| walk.unread(&seen, &covered));
        unread.flatten().collect()
    }

    /// The JSON that the mapping says is not billed, with the reasons.
    pub(super) fn not_billed(&self) -> Vec<(&'a Json, &'a str)> {
        let mut covered = Vec::new();
        for one in &self.fit.body.not_billed {
            for path in &one.path {
                path.each(self.object(path), |json| covered.push((json, &*one.why)));
            }
        }
        covered
    }
}
