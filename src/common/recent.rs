//! Keeps what came last, within bounds of number and of bytes.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// Says how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub count: usize,
    pub bytes: usize,
}

/// Says what one of those kept weighs beside its own size.
pub(crate) trait Weigh {
    /// Bytes that it keeps elsewhere.
    fn weight(&self) -> usize;
}

/// Keeps values by their keys, in the order in which they were changed last; the oldest make room.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    by_age: BTreeMap<u64, Kept<K, V>>,
    places: HashMap<K, u64>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept<K, V> {
    key: K,
    value: V,
    bytes: usize,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            by_age: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            bytes: 0,
        }
    }
}

impl<K, V: Weigh> Kept<K, V> {
    /// What each takes beside what its value keeps elsewhere: its key twice, its places, and what maps keep free.
    const EACH: usize = size_of::<K>() + size_of::<Self>() + 64;

    /// Weighs it again; `all` is what all weigh together.
    fn weigh(&mut self, all: &mut usize) {
        let bytes = Self::EACH + self.value.weight();
        *all = *all - self.bytes + bytes;
        self.bytes = bytes;
    }
}

impl<K: Clone + Eq + Hash, V: Weigh> Recent<K, V> {
    /// Has `change` change the one with this key, or puts in a `new` one. It is the newest then; the oldest beyond `bounds`
    /// go.
    pub(crate) fn put(
        &mut self,
        key: K,
        bounds: Bounds,
        change: impl FnOnce(&mut V),
        new: impl FnOnce() -> V,
    ) {
        let newest = self.by_age.last_entry();
        if let Some(mut newest) = newest.filter(|newest| newest.get().key == key) {
            // As mostly with the second of a pair, and with what is repeated.
            let kept = newest.get_mut();
            change(&mut kept.value);
            kept.weigh(&mut self.bytes);
            return self.fit(bounds);
        }
        let place = self.next;
        self.next += 1;
        let known = self.places.insert(key.clone(), place);
        let known = known.and_then(|known| self.by_age.remove(&known));
        let mut kept = match known {
            Some(mut kept) => {
                change(&mut kept.value);
                kept
            }
            None => Kept {
                key,
                value: new(),
                bytes: 0,
            },
        };
        kept.weigh(&mut self.bytes);
        self.by_age.insert(place, kept);
        self.fit(bounds);
    }

    /// Drops the oldest until the rest is within `bounds`.
    pub(crate) fn fit(&mut self, bounds: Bounds) {
        while self.by_age.len() > bounds.count || self.bytes > bounds.bytes {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                return;
            };
            self.bytes -= oldest.bytes;
            self.places.remove(&oldest.key);
        }
        if self.places.capacity() > 4 * self.places.len() + 64 {
            self.places.shrink_to(2 * self.places.len());
        }
    }

    /// Takes out the one with this key.
    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.places.remove(key)?;
        let kept = self.by_age.remove(&place)?;
        self.bytes -= kept.bytes;
        Some(kept.value)
    }

    /// Gives the one with this key.
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let place = self.places.get(key)?;
        self.by_age.get(place).map(|kept| &kept.value)
    }

    /// Has `change` change what it likes, and weighs it anew.
    pub(crate) fn change_all(&mut self, mut change: impl FnMut(&mut V)) {
        for kept in self.by_age.values_mut() {
            change(&mut kept.value);
            kept.weigh(&mut self.bytes);
        }
    }

    /// Gives all, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &V> {
        self.by_age.values().map(|kept| &kept.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for String {
        fn weight(&self) -> usize {
            self.capacity()
        }
    }

    type Texts = Recent<u32, String>;

    const MANY: Bounds = Bounds {
        count: 3,
        bytes: usize::MAX,
    };

    fn shown(recent: &Texts) -> Vec<&str> {
        recent.iter().map(|text| &**text).collect()
    }

    fn put(recent: &mut Texts, key: u32, text: &str, bounds: Bounds) {
        recent.put(
            key,
            bounds,
            |before| before.push_str(text),
            || text.to_owned(),
        );
    }

    #[test]
    fn the_oldest_make_room_and_what_changes_is_new_again() {
        let mut recent = Texts::default();
        for (key, text) in [(1, "a"), (2, "b"), (1, "c"), (3, "d")] {
            put(&mut recent, key, text, MANY);
        }
        assert_eq!(shown(&recent), ["b", "ac", "d"]);
        put(&mut recent, 3, "d", MANY);
        assert_eq!(shown(&recent), ["b", "ac", "dd"]);
        put(&mut recent, 4, "e", MANY);
        assert_eq!(shown(&recent), ["ac", "dd", "e"]);
        assert_eq!(recent.get(&2), None);
        assert_eq!(recent.get(&3).map(String::as_str), Some("dd"));
        assert_eq!(recent.remove(&1).as_deref(), Some("ac"));
        recent.change_all(|text| text.push('!'));
        assert_eq!(shown(&recent), ["dd!", "e!"]);
        let one = Bounds { count: 1, ..MANY };
        recent.fit(one);
        assert_eq!((shown(&recent), recent.by_age.len()), (vec!["e!"], 1));
    }

    #[test]
    fn bytes_are_counted_to_the_last() {
        let mut recent = Texts::default();
        let bounds = Bounds {
            count: 1_000,
            bytes: 100_000,
        };
        let long = "x".repeat(9_000);
        for key in 0..500 {
            put(&mut recent, key % 70, &long[..key as usize * 17], bounds);
            let texts: usize = recent.iter().map(String::capacity).sum();
            assert_eq!(
                recent.bytes,
                texts + recent.by_age.len() * Kept::<u32, String>::EACH
            );
            assert!(recent.bytes <= bounds.bytes);
        }
        recent.change_all(String::clear);
        recent.change_all(String::shrink_to_fit);
        assert_eq!(
            recent.bytes,
            recent.by_age.len() * Kept::<u32, String>::EACH
        );
        recent.fit(Bounds { bytes: 0, ..bounds });
        assert_eq!((recent.bytes, recent.by_age.len()), (0, 0));
        assert!(recent.places.is_empty());
    }

    #[test]
    fn what_alone_is_too_large_is_not_kept() {
        let mut recent = Texts::default();
        let bounds = Bounds {
            count: 3,
            bytes: 1_000,
        };
        put(&mut recent, 1, &"x".repeat(2_000), bounds);
        assert_eq!(recent.by_age.len(), 0);
    }
}
