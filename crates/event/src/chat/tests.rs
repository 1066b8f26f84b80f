//! Tests of the events of a conversation.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::pinned::assert_pinned;

pub(crate) fn any_event() -> impl Strategy<Value = ChatEvent> {
    let conversation = || any::<u128>().prop_map(|id| ConversationId::from(Uuid::from_u128(id)));
    let message = || any::<u128>().prop_map(|id| MessageId::from(Uuid::from_u128(id)));
    let parent = || prop::option::of(message());
    let usage =
        (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(prompt_tokens, completion_tokens, estimated)| {
            AnswerUsage { prompt_tokens, completion_tokens, estimated }
        });
    let timing =
        (any::<u64>(), any::<u64>()).prop_map(|(first_token_ms, total_ms)| AnswerTiming { first_token_ms, total_ms });
    let user_message =
        prop::option::of((parent(), ".+").prop_map(|(parent_id, content)| UserMessage { parent_id, content }));
    prop_oneof![
        (conversation(), message(), message(), user_message, prop::option::of(".+")).prop_map(
            |(conversation_id, message_id, parent_id, user_message, title)| ChatEvent::Started {
                conversation_id,
                message_id,
                parent_id,
                user_message,
                title
            }
        ),
        (message(), any::<String>(), any::<String>()).prop_map(|(message_id, content, reasoning_content)| {
            ChatEvent::Delta { message_id, content, reasoning_content }
        }),
        (conversation(), message(), any::<[String; 4]>(), usage, timing).prop_map(
            |(conversation_id, message_id, [content, reasoning_content, finish_reason, model], usage, timing)| {
                ChatEvent::Message {
                    conversation_id,
                    message_id,
                    content,
                    reasoning_content,
                    finish_reason,
                    model,
                    usage,
                    timing,
                }
            }
        ),
        (conversation(), message(), any::<String>(), any::<String>()).prop_map(
            |(conversation_id, message_id, error_code, error_message)| ChatEvent::Error {
                conversation_id,
                message_id,
                error_code,
                error_message
            }
        ),
        (conversation(), any::<String>(), any::<bool>(), parent()).prop_map(
            |(conversation_id, title, pinned, leaf_message_id)| ChatEvent::Changed {
                conversation_id,
                title,
                pinned,
                leaf_message_id
            }
        ),
        conversation().prop_map(|conversation_id| ChatEvent::Deleted { conversation_id }),
        message().prop_map(|message_id| ChatEvent::StopRequested { message_id }),
    ]
}

#[test]
fn bytes_and_frames_are_pinned() {
    let conversation_id = ConversationId::from(Uuid::from_u128(1));
    let [message_id, parent_id, before] = [2, 3, 4].map(|id| MessageId::from(Uuid::from_u128(id)));
    let pinned = |event: ChatEvent, bytes: &str, fields: &str| assert_pinned(crate::Body::Chat(event), bytes, fields);
    let user_message = Some(UserMessage { parent_id: Some(before), content: "Hi".into() });
    pinned(
        ChatEvent::Started { conversation_id, message_id, parent_id, user_message, title: None },
        concat!(
            "f2019c010a2430303030303030302d303030302d303030302d303030302d3030303030303030303030311224303030303030",
            "30302d303030302d303030302d303030302d3030303030303030303030321a2430303030303030302d303030302d30303030",
            "2d303030302d303030303030303030303033220248692a2430303030303030302d303030302d303030302d303030302d3030",
            "30303030303030303034",
        ),
        concat!(
            r#""conversation_id":"00000000-0000-0000-0000-000000000001","message_id":"00000000-0000-0000-0000-000000000002","#,
            r#""parent_id":"00000000-0000-0000-0000-000000000003","user_message":{"content":"Hi","#,
            r#""id":"00000000-0000-0000-0000-000000000003","parent_id":"00000000-0000-0000-0000-000000000004","role":"user"}"#,
        ),
    );
    pinned(
        ChatEvent::Delta { message_id, content: "Hel".into(), reasoning_content: String::new() },
        "fa012b0a2430303030303030302d303030302d303030302d303030302d303030303030303030303032120348656c",
        r#""message_id":"00000000-0000-0000-0000-000000000002","content":"Hel""#,
    );
    pinned(
        ChatEvent::Message {
            conversation_id,
            message_id,
            content: "Hello".into(),
            reasoning_content: "?".into(),
            finish_reason: "stop".into(),
            model: "m".into(),
            usage: AnswerUsage { prompt_tokens: 1, completion_tokens: 2, estimated: true },
            timing: AnswerTiming { first_token_ms: 3, total_ms: 4 },
        },
        concat!(
            "82026d0a2430303030303030302d303030302d303030302d303030302d303030303030303030303031122430303030303030",
            "302d303030302d303030302d303030302d3030303030303030303030321a0548656c6c6f22013f2a0473746f7032016d3a06",
            "080110021801420408031004",
        ),
        concat!(
            r#""conversation_id":"00000000-0000-0000-0000-000000000001","message_id":"00000000-0000-0000-0000-000000000002","#,
            r#""role":"assistant","content":"Hello","reasoning_content":"?","finish_reason":"stop","model":"m","#,
            r#""usage":{"completion_tokens":2,"estimated":true,"prompt_tokens":1,"total_tokens":3},"#,
            r#""timing":{"first_token_ms":3,"total_ms":4}"#,
        ),
    );
    pinned(
        ChatEvent::Error {
            conversation_id,
            message_id,
            error_code: "INTERRUPTED".into(),
            error_message: "It ended.".into(),
        },
        concat!(
            "8a02640a2430303030303030302d303030302d303030302d303030302d303030303030303030303031122430303030303030",
            "302d303030302d303030302d303030302d3030303030303030303030321a0b494e5445525255505445442209497420656e64",
            "65642e",
        ),
        concat!(
            r#""conversation_id":"00000000-0000-0000-0000-000000000001","message_id":"00000000-0000-0000-0000-000000000002","#,
            r#""error_code":"INTERRUPTED","error_message":"It ended.""#,
        ),
    );
    pinned(
        ChatEvent::Changed { conversation_id, title: "T".into(), pinned: true, leaf_message_id: Some(before) },
        concat!(
            "9202510a2430303030303030302d303030302d303030302d303030302d303030303030303030303031120154180122243030",
            "3030303030302d303030302d303030302d303030302d303030303030303030303034",
        ),
        concat!(
            r#""conversation_id":"00000000-0000-0000-0000-000000000001","title":"T","pinned":true,"#,
            r#""leaf_message_id":"00000000-0000-0000-0000-000000000004""#,
        ),
    );
}
