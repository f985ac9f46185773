//! From a message's bytes to what it asks for.

use std::sync::Arc;

use crate::messages::{BusChange, Original, Position};

/// One message as a change. Bytes that are no request become one that is refused with the reason.
pub(super) fn change(position: Position, original: Original) -> BusChange {
    BusChange {
        position,
        request: original.request(),
        original: Arc::new(original),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use sozu_command_lib::proto::command::{Request, request::RequestType};

    use super::*;

    const PLACE: Position = Position {
        ledger: 1,
        entry: 2,
        index: -1,
    };

    fn change(position: Position, bytes: Vec<u8>) -> BusChange {
        let original = Original {
            bytes,
            ..Original::default()
        };
        super::change(position, original)
    }

    #[test]
    fn a_request_and_what_is_none() {
        let request = Request::from(RequestType::RemoveCluster("a".to_owned()));
        let bytes = request.encode_to_vec();
        let taken = change(PLACE, bytes.clone());
        assert_eq!(taken.request, Ok(Arc::new(request)));
        assert_eq!(taken.original.bytes, bytes);

        let cut = change(PLACE, bytes[..bytes.len() - 1].to_vec());
        assert!(cut.request.unwrap_err().contains("no protobuf Request"));
        // A newer producer's verb: a field of the oneof that this version does not know.
        let newer = change(PLACE, vec![0xfa, 0x3f, 0x00]);
        assert_eq!(newer.request, Ok(Arc::default()));
        assert_eq!(change(PLACE, Vec::new()).request, Ok(Arc::default()));
    }
}
