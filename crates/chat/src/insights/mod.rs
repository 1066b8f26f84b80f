//! Insights about a user's health, for this user only: from data that the user sends, and from messages that mention it. They are
//! notices on the topic of a room, so they are not stored.

mod points;
mod prompt;
mod statistics;
mod words;

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::info;
use turnpike_bus::Bus;
use turnpike_event::{AnalysisStatus, Body, Event, RoomNotice};
use turnpike_fault::{Fault, Kind};
use turnpike_kit::{Clock, OnExit, Tasks};
use turnpike_topic::{RoomId, Topic, UserId};

pub(crate) use self::points::{Series, series};
use self::statistics::{Finding, Summary, summarize};
use crate::upstream::{ChatRequest, Piece, Upstreams};

/// Analyses that run at the same time; a user has one.
const AT_ONCE: usize = 8;
/// How long the model may take. After that, the statistics are the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the answer of a model that are read.
const MAX_ANSWER: usize = 64 << 10;
/// Whose words an insight has.
const MODEL: &str = "model";
const STATISTICS: &str = "statistics";
/// What an insight is about.
const OF_DATA: &str = "health_analysis";
const OF_A_MESSAGE: &str = "conversational_health";

#[derive(Clone)]
pub(crate) struct Insights(Arc<Inner>);

struct Inner {
    upstreams: Upstreams,
    bus: Bus,
    clock: Clock,
    tasks: Tasks,
    permits: Arc<Semaphore>,
    /// The users with a running analysis.
    busy: Mutex<HashSet<UserId>>,
}

/// The right to run an analysis for a user, until this is dropped.
struct Turn {
    insights: Insights,
    room: RoomId,
    user: UserId,
    _permit: OwnedSemaphorePermit,
}

impl Insights {
    pub(crate) fn new(upstreams: Upstreams, bus: Bus, clock: Clock, tasks: Tasks) -> Self {
        let (permits, busy) = (Arc::new(Semaphore::new(AT_ONCE)), Mutex::default());
        Self(Arc::new(Inner { upstreams, bus, clock, tasks, permits, busy }))
    }

    /// Begins to analyse data. The user gets the progress and one insight for each finding.
    pub(crate) fn analyze(&self, room: RoomId, user: UserId, series: Series) -> Result<(), Fault> {
        let turn = self.turn(room, user)?;
        let stopping = self.0.tasks.stopping().clone();
        self.0.tasks.spawn("health analysis", OnExit::Continue, async move {
            if stopping.run_until_cancelled(turn.analyze(series)).await.is_none() {
                turn.fail().await;
            }
        });
        Ok(())
    }

    /// Whether a message mentions its author's health.
    pub(crate) fn is_about_health(message: &str) -> bool {
        !words::mentioned(message).is_empty()
    }

    /// Comments on a message that mentions the author's health, if it does. `context` was said before.
    pub(crate) fn comment(&self, room: RoomId, user: UserId, message: String, context: String) {
        let mentioned = words::mentioned(&message);
        // A comment is a courtesy: a user who has a running one gets no second one.
        let Some(turn) = (!mentioned.is_empty()).then(|| self.turn(room, user).ok()).flatten() else { return };
        let stopping = self.0.tasks.stopping().clone();
        self.0.tasks.spawn("health comment", OnExit::Continue, async move {
            stopping.run_until_cancelled(turn.comment(&mentioned, &message, &context)).await;
        });
    }

    fn turn(&self, room: RoomId, user: UserId) -> Result<Turn, Fault> {
        let busy =
            || Fault::new(Kind::Unavailable, "Too many analyses are running").retry_after(Duration::from_secs(5));
        let permit = self.0.permits.clone().try_acquire_owned().map_err(|_| busy())?;
        if !self.0.busy.lock().insert(user) {
            let detail = "An analysis for you is running; send more when it has ended";
            return Err(Fault::new(Kind::RateLimited, detail).retry_after(Duration::from_secs(5)));
        }
        Ok(Turn { insights: self.clone(), room, user, _permit: permit })
    }

    /// Asks the model. `None`: there is no model, or no answer of the form that was asked for.
    async fn ask(&self, request: ChatRequest) -> Option<Vec<Finding>> {
        if self.0.upstreams.is_scripted() {
            return None;
        }
        let asking = async {
            let mut stream = self.0.upstreams.chat(request).await?;
            let mut text = String::new();
            while let Some(piece) = stream.next().await {
                if let Piece::Text { content, .. } = piece? {
                    text.push_str(&content);
                }
                if text.len() > MAX_ANSWER {
                    break;
                }
            }
            Ok::<_, crate::upstream::UpstreamError>(text)
        };
        match timeout(PATIENCE, asking).await {
            Ok(Ok(text)) => {
                let findings = prompt::read(&text);
                if findings.is_none() {
                    info!("the answer of the model for an insight has not the form that was asked for");
                }
                findings
            }
            Ok(Err(error)) => {
                info!(%error, "the model gave no insight");
                None
            }
            Err(_) => {
                info!("the model gave no insight in time");
                None
            }
        }
    }
}

impl Turn {
    async fn analyze(&self, series: Series) {
        self.progress(AnalysisStatus::Started, 0, "Starting health data analysis...").await;
        self.progress(AnalysisStatus::Processing, 25, "Analyzing activity patterns...").await;
        // 10,080 points take a few milliseconds.
        let summaries: Vec<Summary> = series.iter().map(|(metric, points)| summarize(metric, points)).collect();
        self.progress(AnalysisStatus::Processing, 75, "Generating AI insights...").await;
        let asked = self.insights.ask(prompt::of_data(&summaries)).await;
        let (findings, source) = match asked {
            Some(findings) => (findings, MODEL),
            None => (summaries.iter().flat_map(Summary::findings).collect(), STATISTICS),
        };
        for finding in findings {
            self.insight(finding, OF_DATA, source).await;
        }
        self.progress(AnalysisStatus::Completed, 100, "Analysis complete!").await;
    }

    async fn comment(&self, mentioned: &[&str], message: &str, context: &str) {
        if let Some(findings) = self.insights.ask(prompt::of_message(message, context)).await {
            // One message, one comment.
            if let Some(finding) = findings.into_iter().next() {
                self.insight(finding, OF_A_MESSAGE, MODEL).await;
            }
            return;
        }
        let insight = format!(
            "Your message mentions {}. No language model has looked at it; data that you send gets statistics.",
            mentioned.join(", ")
        );
        let finding = Finding { insight, confidence: 0.8, recommendations: Vec::new() };
        self.insight(finding, OF_A_MESSAGE, STATISTICS).await;
    }

    /// The process stops: the user can send the data again.
    async fn fail(&self) {
        self.progress(AnalysisStatus::Failed, 100, "The analysis was interrupted").await;
        let (code, message) =
            ("HEALTH_ANALYSIS_ERROR".to_owned(), "The analysis was interrupted; send the data again".to_owned());
        self.notify(RoomNotice::AnalysisError { user_id: self.user, code, message }).await;
    }

    async fn progress(&self, status: AnalysisStatus, progress: u32, details: &str) {
        self.notify(RoomNotice::Analysis { user_id: self.user, status, progress, details: details.to_owned() }).await;
    }

    async fn insight(&self, finding: Finding, category: &str, source: &str) {
        let Finding { insight, confidence, recommendations } = finding;
        let (category, source) = (category.to_owned(), source.to_owned());
        let user_id = self.user;
        self.notify(RoomNotice::HealthInsight { user_id, insight, confidence, category, recommendations, source })
            .await;
    }

    async fn notify(&self, notice: RoomNotice) {
        let inner = &self.insights.0;
        let event = Event { at: inner.clock.now(), body: Body::Notice(notice) };
        // Without the bus the user hears nothing, and can send the data again.
        let _ = inner.bus.notify(&Topic::Room(self.room), &event.to_bytes()).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.insights.0.busy.lock().remove(&self.user);
    }
}
