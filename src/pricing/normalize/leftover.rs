//! Numbers of an object that its mapping does not count. Pure.

use crate::pg::jsonb::Json;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::numbers::{Walk, is_zero};
use crate::pricing::normalize::reading::Reading;
use crate::pricing::usage::Unread;

impl<'a> Reading<'a> {
    /// A meter's name in the whole object beside the usage object, with a number other than zero that nothing reads.
    pub(super) fn stranger(&self) -> Option<&'a str> {
        let seen = self.seen.borrow();
        self.root.iter().find_map(|(key, value)| {
            let is_strange = matches!(value, Json::Number(number) if !is_zero(number))
                && is_known_meter(key)
                && !seen.iter().any(|one| std::ptr::eq(*one, value));
            is_strange.then_some(&**key)
        })
    }

    /// The walks over the numbers of the usage object, and of those beside it that are accounted for as well.
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

    /// What nothing reads.
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

    /// What the mapping says is not billed, and why.
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
