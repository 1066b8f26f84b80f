//! Personas: a user's own and system-wide ones.

use turnpike_fault::Kind;
use turnpike_proto::chat::v1 as pb;
use turnpike_testkit::{Database, on_both};
use turnpike_token::Role;

use crate::{caller::Caller, world::World};

on_both!(
    a_user_sees_and_changes_only_their_own,
    a_system_wide_persona_is_changed_by_admins,
    fields_of_personas_are_validated,
    a_conversation_outlives_its_persona,
    a_user_has_at_most_a_hundred,
    a_repeated_request_creates_one_persona,
    the_temperature_can_be_the_models_default_again,
);

fn named(name: &str) -> pb::CreatePersonaRequest {
    pb::CreatePersonaRequest { name: name.to_owned(), ..Default::default() }
}

async fn names(caller: &Caller) -> Vec<String> {
    caller.personas().await.into_iter().map(|persona| persona.name).collect()
}

async fn a_user_sees_and_changes_only_their_own(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let stranger = Caller::new(world.person(Role::Admin), &instance);
    let request = pb::CreatePersonaRequest {
        description: "Explains".to_owned(),
        system_prompt: "Explain\nslowly.".to_owned(),
        temperature: Some(0.5),
        ..named("Teacher")
    };
    let made = caller.new_persona(request).await;
    caller.create_persona(named("Critic")).await.expect("created");
    assert_eq!(names(&caller).await, ["Critic", "Teacher"]);
    assert_eq!(caller.personas().await[1], made);
    assert!(names(&stranger).await.is_empty());
    let rename =
        pb::UpdatePersonaRequest { persona_id: made.id.clone(), name: Some("Tutor".to_owned()), ..Default::default() };
    for refused in [stranger.update_persona(rename.clone()).await.map(drop), stranger.delete_persona(&made.id).await] {
        assert_eq!(refused.expect_err("another user's").kind(), Kind::NotFound);
    }
    let renamed = caller.update_persona(rename).await.expect("changed");
    assert_eq!(renamed, pb::Persona { name: "Tutor".to_owned(), ..made.clone() });
    let refused = stranger
        .create_conversation(pb::CreateConversationRequest { persona_id: made.id.clone(), ..Default::default() })
        .await
        .expect_err("another user's");
    assert_eq!(refused.fields()[0].field, "persona_id");
    caller.delete_persona(&made.id).await.expect("deleted");
    assert_eq!(names(&caller).await, ["Critic"]);
    for id in [made.id.as_str(), "no-id"] {
        assert_eq!(caller.delete_persona(id).await.expect_err("gone").kind(), Kind::NotFound);
    }
}

async fn a_system_wide_persona_is_changed_by_admins(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::Engineer), &instance);
    let (one, two) = (world.person(Role::Admin), world.person(Role::Admin));
    let (one, two) = (Caller::new(one, &instance), Caller::new(two, &instance));
    let request = pb::CreatePersonaRequest { system_wide: true, ..named("House style") };
    let refused = caller.create_persona(request.clone()).await.expect_err("needs an admin");
    assert_eq!(refused.kind(), Kind::Forbidden);
    let made = one.new_persona(request).await;
    assert_eq!(made.user_id, "");
    assert_eq!(names(&caller).await, ["House style"]);
    let change = pb::UpdatePersonaRequest { persona_id: made.id.clone(), temperature: Some(2.0), ..Default::default() };
    for refused in [caller.update_persona(change.clone()).await.map(drop), caller.delete_persona(&made.id).await] {
        assert_eq!(refused.expect_err("needs an admin").kind(), Kind::Forbidden);
    }
    assert_eq!(two.update_persona(change).await.expect("changed").temperature, Some(2.0));
    two.delete_persona(&made.id).await.expect("deleted");
    assert!(names(&caller).await.is_empty());
}

async fn fields_of_personas_are_validated(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let longest = pb::CreatePersonaRequest {
        name: "ü".repeat(100),
        description: "ü".repeat(500),
        system_prompt: "x".repeat(16 << 10),
        temperature: Some(0.0),
        ..Default::default()
    };
    let made = caller.new_persona(longest.clone()).await;
    for (field, request) in [
        ("name", named("")),
        ("name", named(" \n ")),
        ("name", named(&"x".repeat(101))),
        ("description", pb::CreatePersonaRequest { description: "x".repeat(501), ..longest.clone() }),
        ("system_prompt", pb::CreatePersonaRequest { system_prompt: "x".repeat((16 << 10) + 1), ..longest.clone() }),
        ("temperature", pb::CreatePersonaRequest { temperature: Some(2.01), ..longest.clone() }),
        ("temperature", pb::CreatePersonaRequest { temperature: Some(-0.1), ..longest.clone() }),
        ("temperature", pb::CreatePersonaRequest { temperature: Some(f64::NAN), ..longest }),
    ] {
        let change = pb::UpdatePersonaRequest {
            persona_id: made.id.clone(),
            name: Some(request.name.clone()),
            description: Some(request.description.clone()),
            system_prompt: Some(request.system_prompt.clone()),
            temperature: request.temperature,
            default_temperature: false,
        };
        for refused in [caller.create_persona(request).await.map(drop), caller.update_persona(change).await.map(drop)] {
            let refused = refused.expect_err(field);
            assert_eq!((refused.kind(), refused.fields()[0].field.as_str()), (Kind::Validation, field));
        }
    }
    assert_eq!(caller.personas().await, [made]);
}

async fn a_conversation_outlives_its_persona(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let persona = caller.new_persona(named("Teacher")).await.id;
    let request = pb::CreateConversationRequest { persona_id: persona.clone(), ..Default::default() };
    let made = caller.create_conversation(request).await.expect("created").conversation.expect("a conversation");
    assert_eq!(made.persona_id, persona);
    let update = |persona_id: &str| pb::UpdateConversationRequest {
        conversation_id: made.id.clone(),
        persona_id: Some(persona_id.to_owned()),
        ..Default::default()
    };
    assert_eq!(caller.update_conversation(update("")).await.expect("changed").persona_id, "");
    assert_eq!(caller.update_conversation(update(&persona)).await.expect("changed").persona_id, persona);
    caller.delete_persona(&persona).await.expect("deleted");
    assert_eq!(caller.get(&made.id).await.expect("the caller's own").persona_id, "");
}

async fn a_user_has_at_most_a_hundred(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    for n in 0..100 {
        caller.create_persona(named(&format!("{n:03}"))).await.expect("created");
    }
    let refused = caller.create_persona(named("x")).await.expect_err("too many");
    assert_eq!((refused.kind(), refused.code()), (Kind::Conflict, "TOO_MANY_PERSONAS"));
    assert_eq!(caller.personas().await.len(), 100);
    let other = Caller::new(world.person(Role::User), &instance);
    other.create_persona(named("x")).await.expect("the bound is for each user");
}

async fn a_repeated_request_creates_one_persona(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let keyed = |name: &str| pb::CreatePersonaRequest { idempotency_key: "k".to_owned(), ..named(name) };
    let (first, second) =
        tokio::join!(caller.create_persona(keyed("Teacher")), caller.create_persona(keyed("Teacher")));
    let (first, second) = (first.expect("created"), second.expect("created"));
    assert_eq!(first.persona, second.persona);
    assert_ne!(first.replayed, second.replayed);
    assert_eq!(names(&caller).await, ["Teacher"]);
    let other = caller.create_persona(keyed("Critic")).await.expect_err("another request");
    assert_eq!(other.kind(), Kind::Conflict);
    caller.delete_persona(&first.persona.expect("a persona").id).await.expect("deleted");
    assert_eq!(caller.create_persona(keyed("Teacher")).await.expect_err("deleted").kind(), Kind::NotFound);
    // A refused request leaves its key free.
    for n in 0..100 {
        caller.new_persona(named(&format!("{n:03}"))).await;
    }
    let last = pb::CreatePersonaRequest { idempotency_key: "last".to_owned(), ..named("x") };
    caller.create_persona(last.clone()).await.expect_err("too many");
    caller.delete_persona(&caller.personas().await[0].id).await.expect("deleted");
    assert!(!caller.create_persona(last).await.expect("there is room").replayed);
}

async fn the_temperature_can_be_the_models_default_again(database: Database) {
    let world = World::new(database);
    let instance = world.start().await;
    let caller = Caller::new(world.person(Role::User), &instance);
    let made = caller.new_persona(pb::CreatePersonaRequest { temperature: Some(0.5), ..named("Teacher") }).await;
    let change = pb::UpdatePersonaRequest { persona_id: made.id, default_temperature: true, ..Default::default() };
    let both = pb::UpdatePersonaRequest { temperature: Some(1.0), ..change.clone() };
    assert_eq!(
        caller.update_persona(both).await.expect_err("one or the other").fields()[0].field,
        "default_temperature"
    );
    assert_eq!(caller.update_persona(change).await.expect("changed").temperature, None);
}
