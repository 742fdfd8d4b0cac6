//! Which server owns which slot.

use redis::Value;

use super::super::BrokerError;
use super::keys::SLOTS;
use super::url::Address;
use super::wire::{corrupt, list, number, text};

/// No owner known.
const NOBODY: u16 = u16::MAX;

/// The owner of each slot. A standalone server is the owner of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotMap {
    primaries: Vec<Address>,
    /// For each slot the index of its primary.
    owners: Vec<u16>,
}

impl SlotMap {
    pub(super) fn empty() -> Self {
        Self {
            primaries: Vec::new(),
            owners: vec![NOBODY; SLOTS.into()],
        }
    }

    pub(super) fn single(address: Address) -> Self {
        Self {
            primaries: vec![address],
            owners: vec![0; SLOTS.into()],
        }
    }

    /// Reads the answer to `CLUSTER SLOTS` of the server at `asked`: `[[first, last, [host, port, …], replicas…], …]`.
    pub(super) fn from_cluster_slots(answer: Value, asked: &Address) -> Result<Self, BrokerError> {
        let mut map = Self::empty();
        for range in list(answer)? {
            let range = list(range)?;
            let [first, last, primary, ..] = range.as_slice() else {
                return Err(corrupt("a slot range without a primary"));
            };
            let Value::Array(primary) = primary else {
                return Err(corrupt("a slot range without a primary"));
            };
            let [host, port, ..] = primary.as_slice() else {
                return Err(corrupt("a primary without an address"));
            };
            // Nil and empty mean: the address that was asked; `?` means that it isn't known.
            let host = match host {
                Value::Nil => &asked.host,
                host => match text(host)? {
                    "" => &asked.host,
                    "?" => continue,
                    host => host,
                },
            };
            let port = u16::try_from(number(port)?).map_err(|_| corrupt("a port out of range"))?;
            let (first, last) = (slot_number(first)?, slot_number(last)?);
            let owner = map.index_of(&Address::new(host, port))?;
            for slot in first..=last {
                map.owners[usize::from(slot)] = owner;
            }
        }
        Ok(map)
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        let index = *self.owners.get(usize::from(slot))?;
        self.primaries.get(usize::from(index))
    }

    /// How many slots have an owner.
    pub(super) fn covered(&self) -> usize {
        self.owners.iter().filter(|owner| **owner != NOBODY).count()
    }

    /// Notes a redirection.
    pub(super) fn moved(&mut self, slot: u16, to: &Address) {
        if let (Ok(index), true) = (self.index_of(to), slot < SLOTS) {
            self.owners[usize::from(slot)] = index;
        }
    }

    /// Every primary that owns a slot.
    pub(super) fn primaries(&self) -> impl Iterator<Item = &Address> {
        let mut owns = vec![false; self.primaries.len()];
        for owner in &self.owners {
            if let Some(owns) = owns.get_mut(usize::from(*owner)) {
                *owns = true;
            }
        }
        self.primaries
            .iter()
            .zip(owns)
            .filter(|(_, owns)| *owns)
            .map(|(address, _)| address)
    }

    fn index_of(&mut self, address: &Address) -> Result<u16, BrokerError> {
        let index = self
            .primaries
            .iter()
            .position(|known| known == address)
            .unwrap_or_else(|| {
                self.primaries.push(address.clone());
                self.primaries.len() - 1
            });
        // A slot has one owner, so there are never more than slots, unless the answer repeats itself.
        u16::try_from(index)
            .ok()
            .filter(|index| *index < SLOTS)
            .ok_or_else(|| corrupt("more primaries than slots"))
    }
}

fn slot_number(value: &Value) -> Result<u16, BrokerError> {
    u16::try_from(number(value)?)
        .ok()
        .filter(|slot| *slot < SLOTS)
        .ok_or_else(|| corrupt("a slot out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: Value, port: i64) -> Value {
        Value::Array(vec![
            host,
            Value::Int(port),
            Value::BulkString(b"id".to_vec()),
            Value::Array(vec![]),
        ])
    }

    fn host(host: &str) -> Value {
        Value::BulkString(host.as_bytes().to_vec())
    }

    #[test]
    fn an_answer_to_cluster_slots_is_read() {
        let answer = Value::Array(vec![
            Value::Array(vec![
                Value::Int(0),
                Value::Int(99),
                server(host("a"), 1),
                server(host("replica"), 2),
            ]),
            Value::Array(vec![
                Value::Int(100),
                Value::Int(100),
                server(Value::Nil, 3),
            ]),
            Value::Array(vec![Value::Int(101), Value::Int(101), server(host("?"), 4)]),
            Value::Array(vec![Value::Int(102), Value::Int(102), server(host("a"), 1)]),
        ]);
        let map = SlotMap::from_cluster_slots(answer, &Address::new("asked", 9))
            .expect("it is well formed");
        let (a, asked) = (Address::new("a", 1), Address::new("asked", 3));
        let owners = [0, 99, 100, 101, 102, 103, SLOTS].map(|slot| map.owner(slot));
        assert_eq!(
            owners,
            [Some(&a), Some(&a), Some(&asked), None, Some(&a), None, None]
        );
        assert_eq!(map.primaries().collect::<Vec<_>>(), [&a, &asked]);
    }

    #[test]
    fn a_redirection_moves_one_slot() {
        let (old, new) = (Address::new("old", 1), Address::new("new", 1));
        let mut map = SlotMap::single(old.clone());
        map.moved(7, &new);
        map.moved(SLOTS, &new);
        assert_eq!([map.owner(6), map.owner(7)], [Some(&old), Some(&new)]);
        for slot in 0..SLOTS {
            map.moved(slot, &new);
        }
        assert_eq!(map.primaries().collect::<Vec<_>>(), [&new]);
    }

    #[test]
    fn nonsense_is_refused() {
        for answer in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![
                Value::Int(0),
                Value::Int(16384),
                server(host("a"), 1),
            ])]),
            Value::Array(vec![Value::Array(vec![
                Value::Int(0),
                Value::Int(1),
                server(host("a"), 70_000),
            ])]),
        ] {
            assert!(SlotMap::from_cluster_slots(answer, &Address::new("a", 1)).is_err());
        }
    }
}
