//! What outlives a node: its ids and the nodes that it knew.

use bendy::encoding::Encoder;

use crate::{
    Contact, Family, NodeId,
    bencode::{self},
    contact::{compact_nodes, parse_nodes},
};

/// Ids and nodes, as a bencoded dictionary: `id4`, `id6`, `nodes`, `nodes6`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    v4: Option<NodeId>,
    v6: Option<NodeId>,
    contacts: Vec<Contact>,
}

/// The bytes are not what a node saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the saved nodes of a DHT")]
pub struct SavedError;

impl Saved {
    pub(crate) const fn new(v4: Option<NodeId>, v6: Option<NodeId>, contacts: Vec<Contact>) -> Self {
        Self { v4, v6, contacts }
    }

    /// The id of a family.
    pub const fn id(&self, family: Family) -> Option<NodeId> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// The nodes alone: another node begins with them.
    #[must_use]
    pub fn without_ids(self) -> Self {
        Self { v4: None, v6: None, ..self }
    }

    /// The nodes of both families.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// The bytes to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let written = encoder.emit_dict(|mut saved| {
            for (key, id) in [(&b"id4"[..], self.v4), (b"id6", self.v6)] {
                if let Some(id) = id {
                    crate::message::bytes(&mut saved, key, id.as_bytes())?;
                }
            }
            crate::message::bytes(&mut saved, b"nodes", &compact_nodes(&self.contacts, Family::V4))?;
            crate::message::bytes(&mut saved, b"nodes6", &compact_nodes(&self.contacts, Family::V6))
        });
        // Keys are written in their order and nothing is nested deeply, so there is nothing to fail.
        written.and_then(|()| encoder.get_output()).unwrap_or_default()
    }

    /// Reads what [`Saved::to_bytes`] gave.
    ///
    /// # Errors
    /// [`SavedError`] when it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SavedError> {
        let mut saved = Self::default();
        bencode::dictionary(bytes, &mut |key, field| match key {
            b"id4" => saved.v4 = field.fixed().map(NodeId::from_bytes),
            b"id6" => saved.v6 = field.fixed().map(NodeId::from_bytes),
            b"nodes" => saved.contacts.extend(parse_nodes(field.bytes().unwrap_or_default(), Family::V4)),
            b"nodes6" => saved.contacts.extend(parse_nodes(field.bytes().unwrap_or_default(), Family::V6)),
            _ => {}
        })
        .map_err(|_| SavedError)?;
        Ok(saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_back() {
        let contact = |last: u8, address: &str| Contact {
            id: NodeId::from_bytes([last; 20]),
            address: address.parse().expect("an address"),
        };
        let contacts = vec![contact(1, "1.2.3.4:5"), contact(2, "9.9.9.9:65535"), contact(3, "[2001::7]:6881")];
        let saved = Saved::new(Some(NodeId::from_bytes([7; 20])), None, contacts);
        assert_eq!(Saved::from_bytes(&saved.to_bytes()), Ok(saved));
        assert_eq!(Saved::from_bytes(b"le"), Err(SavedError));
        assert_eq!(Saved::from_bytes(b""), Err(SavedError));
    }
}
