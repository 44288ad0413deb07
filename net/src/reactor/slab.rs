//! Slots reused by generation: what tasks and operations live in, so that starting one allocates
//! nothing in the steady state.
//!
//! A key outlives its value safely: a stale one finds nothing. That is what makes a late cancel or
//! a late wake harmless; an index alone would hit whoever moved in.

/// Slabs stay below; the indices from here on are for numbers beside the keys. Generations wrap, so
/// only the index can tell them apart.
const INDEX_MAX: u32 = u32::MAX - 15;

/// Names one value of a [`Slab`], for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// A key no slab hands out.
    pub(crate) const NONE: Key = Key {
        index: u32::MAX,
        generation: u32::MAX,
    };

    /// As one number, for the kernel's `user_data`.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// A number that no key has, made of one of the reserved indices and a payload.
    pub(crate) const fn reserved(index: u32, payload: u32) -> u64 {
        assert!(index >= INDEX_MAX, "slabs use the indices below");
        (payload as u64) << 32 | index as u64
    }

    /// The inverse of [`Key::to_bits`].
    pub(crate) fn from_bits(bits: u64) -> Self {
        // Truncation is the format: the index is the low half.
        Key {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

enum Content<T> {
    Vacant { next: Option<u32> },
    Occupied(T),
}

struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

/// A growing array of slots with a free list through the vacant ones.
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    vacant: Option<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab {
            slots: Vec::new(),
            vacant: None,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// Inserts what `make` builds around its own key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let index = match self.vacant {
            Some(index) => index,
            None => {
                let index = self.slots.len() as u32;
                assert!(
                    index < INDEX_MAX,
                    "four billion slots: something leaks tasks"
                );
                self.slots.push(Slot {
                    generation: 0,
                    content: Content::Vacant { next: None },
                });
                index
            }
        };
        let slot = &mut self.slots[index as usize];
        if let Content::Vacant { next } = slot.content {
            self.vacant = next;
        }
        let key = Key {
            index,
            generation: slot.generation,
        };
        slot.content = Content::Occupied(make(key));
        self.len += 1;
        key
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some(Slot {
                generation,
                content: Content::Occupied(value),
            }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let slot = &mut self.slots[key.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let content = std::mem::replace(&mut slot.content, Content::Vacant { next: self.vacant });
        self.vacant = Some(key.index);
        self.len -= 1;
        match content {
            Content::Occupied(value) => Some(value),
            Content::Vacant { .. } => None,
        }
    }

    /// The keys of all values, oldest slot first.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let occupied = |(index, slot): (usize, &Slot<T>)| match slot.content {
            Content::Occupied(_) => Some(Key {
                index: index as u32,
                generation: slot.generation,
            }),
            Content::Vacant { .. } => None,
        };
        self.slots.iter().enumerate().filter_map(occupied).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_key_finds_nothing_after_reuse() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.len(), 1);
        assert_eq!(Key::from_bits(second.to_bits()), second);
    }
}
