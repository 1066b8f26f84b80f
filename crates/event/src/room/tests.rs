use proptest::{option, prelude::*};
use uuid::Uuid;

use super::*;
use crate::pinned::assert_pinned;

fn user() -> impl Strategy<Value = UserId> {
    any::<u128>().prop_map(|id| Uuid::from_u128(id).into())
}

fn message() -> impl Strategy<Value = MessageId> {
    any::<u128>().prop_map(|id| Uuid::from_u128(id).into())
}

fn room() -> impl Strategy<Value = RoomId> {
    any::<u128>().prop_map(|id| Uuid::from_u128(id).into())
}

pub(crate) fn any_event() -> impl Strategy<Value = RoomEvent> {
    let text = || any::<String>();
    prop_oneof![
        (room(), message(), user(), text(), text(), text()).prop_map(
            |(room_id, message_id, user_id, username, content, source)| RoomEvent::Message {
                room_id,
                message_id,
                user_id,
                username,
                content,
                source
            }
        ),
        (message(), user(), text()).prop_map(|(message_id, user_id, content)| RoomEvent::Edited {
            message_id,
            user_id,
            content
        }),
        (message(), user()).prop_map(|(message_id, user_id)| RoomEvent::Redacted { message_id, user_id }),
        (user(), text(), any::<bool>()).prop_map(|(user_id, username, present)| RoomEvent::Presence {
            user_id,
            username,
            present
        }),
        (user(), text(), option::of("[a-z]+"), any::<bool>())
            .prop_map(|(user_id, username, role, excluded)| RoomEvent::Member { user_id, username, role, excluded }),
        (text(), text(), text()).prop_map(|(name, description, visibility)| RoomEvent::Changed {
            name,
            description,
            visibility
        }),
        room().prop_map(|room_id| RoomEvent::Deleted { room_id }),
        (room(), message(), user(), text(), text()).prop_map(|(room_id, message_id, user_id, username, content)| {
            RoomEvent::Mention { room_id, message_id, user_id, username, content }
        }),
    ]
}

#[test]
fn the_bytes_and_the_frame_of_a_presence_are_pinned() {
    let body = crate::Body::Room(RoomEvent::Presence {
        user_id: UserId::from(Uuid::nil()),
        username: "ada".into(),
        present: true,
    });
    let id = "00000000-0000-0000-0000-000000000000";
    let hex: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
    let bytes = format!("da022d0a24{hex}12036164611801");
    assert_pinned(body, &bytes, &format!(r#""user_id":"{id}","username":"ada","status":"online""#));
}
