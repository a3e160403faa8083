//! An operator's command line over the engine: find sagas, read what happened to them, and decide about
//! those that wait for a human. It is a library function, so that a team's own binary can offer it for the
//! team's own definitions.

pub mod history;
pub mod moment;
mod outbox;
mod verify;

use std::fmt::Write as _;
use std::time::Duration;

use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use saga_core::definition::Format;
use saga_core::engine::{CheckReport, EventError, OperatorError, OutcomeError, Resolution, Undecodable};
use saga_core::journal::{DeadLetter, End, JournalError, ListFilter, SagaStatus, SagaSummary};
use saga_core::{CheckpointError, Engine, Payload, SagaId};
use serde_json::{Value, json};

use moment::Moment;

/// What to do.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Sagas, newest first.
    List {
        /// Only those that stand like this.
        #[arg(long)]
        status: Option<Status>,
        /// Only those of this definition.
        #[arg(long)]
        definition: Option<String>,
        /// Only those whose start key begins like this.
        #[arg(long)]
        key: Option<String>,
        /// Only those older than this saga: the last one of the page before.
        #[arg(long)]
        before: Option<SagaId>,
        /// Only those started at this time or later: `2026-11-21T08:00:00Z`, or so long ago: `90s`, `2h`, `7d`.
        #[arg(long)]
        since: Option<Moment>,
        /// Only those started before this time.
        #[arg(long)]
        until: Option<Moment>,
        /// Only those in whose history this text occurs, exactly as it is written: an error, a code, a name. It reads
        /// histories: narrow it down by status, definition or time.
        #[arg(long)]
        mentions: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// One saga: its steps, attempts, times and errors.
    Show {
        /// The saga's id.
        saga: SagaId,
    },
    /// Operations that wait for a human, oldest first.
    DeadLetters {
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// How many sagas stand where.
    Stats,
    /// Before a deploy: which unfinished sagas this binary can continue.
    Check,
    /// Check histories, rows, dead letters and locks against what is promised. Fails when something is wrong.
    Verify {
        /// Only this saga.
        saga: Option<SagaId>,
    },
    /// Try the step, or its compensation, again, with a fresh budget of attempts.
    Retry(Decision),
    /// Try at once what has failed and waits for its next attempt.
    RetryNow {
        /// The saga's id.
        saga: SagaId,
        /// Who wants it, and why.
        #[command(flatten)]
        who: Who,
    },
    /// Ask the participant of a pivot once more whether it happened.
    Probe(Decision),
    /// Go on without the step, or without its compensation, which was done by hand.
    Skip(Decision),
    /// State that the step certainly did not happen: the saga turns back.
    NotApplied(Decision),
    /// Supply the step's result.
    Supply {
        /// Which step, who decides, and why.
        #[command(flatten)]
        decision: Decision,
        /// What the step would have returned, as JSON.
        #[arg(long)]
        output: String,
    },
    /// Have a saga turn back, if it still can.
    Cancel {
        /// The saga's id.
        saga: SagaId,
        /// Who wants it, and why.
        #[command(flatten)]
        who: Who,
    },
    /// Have a saga turn back, and wait until all that it did is undone.
    Rollback {
        /// The saga's id.
        saga: SagaId,
        /// Who wants it, and why.
        #[command(flatten)]
        who: Who,
        /// For how long to wait, in seconds.
        #[arg(long, default_value_t = 60)]
        wait: u64,
    },
    /// A picture: of a definition, or of how far a saga has come.
    Diagram {
        /// The definition's name, or a saga's id.
        of: String,
        /// The definition's version.
        #[arg(long, default_value_t = 1)]
        version: u32,
        /// Graphviz's DOT rather than Mermaid.
        #[arg(long)]
        dot: bool,
    },
    /// Entity locks: which sagas have them, and which wait.
    Locks {
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Events that could not be published, oldest first.
    DeadEvents {
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Publish an event that could not be published.
    Republish {
        /// The event's id.
        event: String,
        /// Who wants it, and why.
        #[command(flatten)]
        who: Who,
    },
}

/// A decision about one step of a saga that waits for a human.
#[derive(Args, Clone, Debug)]
pub struct Decision {
    /// The saga's id.
    pub saga: SagaId,
    /// The step's name.
    pub step: String,
    /// Who decides, and why.
    #[command(flatten)]
    pub who: Who,
}

/// Who decides, and why: both are journalled.
#[derive(Args, Clone, Debug)]
pub struct Who {
    /// Who you are.
    #[arg(long)]
    pub actor: String,
    /// Why.
    #[arg(long)]
    pub reason: String,
}

/// Where a saga stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// A worker has it.
    Running,
    /// It waits for its time, a signal, or a worker.
    Waiting,
    /// It waits for a human.
    Attention,
    /// Rolled back, and watched for late effects.
    Watching,
    /// Completed, and kept for the saga that started it.
    Retained,
    /// Over: every step is done.
    Completed,
    /// Over: everything is undone.
    RolledBack,
}

impl Status {
    const ALL: [Self; 7] = [
        Self::Running,
        Self::Waiting,
        Self::Attention,
        Self::Watching,
        Self::Retained,
        Self::Completed,
        Self::RolledBack,
    ];

    fn status(self) -> SagaStatus {
        match self {
            Self::Running => SagaStatus::Running,
            Self::Waiting => SagaStatus::Waiting,
            Self::Attention => SagaStatus::NeedsAttention,
            Self::Watching => SagaStatus::Watching,
            Self::Retained => SagaStatus::Retained,
            Self::Completed => SagaStatus::Ended(End::Completed),
            Self::RolledBack => SagaStatus::Ended(End::RolledBack),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Attention => "attention",
            Self::Watching => "watching",
            Self::Retained => "retained",
            Self::Completed => "completed",
            Self::RolledBack => "rolled-back",
        }
    }

    fn of(status: SagaStatus) -> &'static str {
        Self::ALL.into_iter().find(|known| known.status() == status).map_or("unknown", Self::name)
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SagactlError {
    /// The journal could not be read.
    #[error("the journal cannot be read")]
    Journal {
        /// Why.
        #[from]
        source: JournalError,
    },
    /// The history could not be read.
    #[error("the saga cannot be read")]
    History {
        /// Why.
        #[from]
        source: OutcomeError,
    },
    /// The decision was refused.
    #[error(transparent)]
    Decision(
        /// Why.
        #[from]
        OperatorError,
    ),
    /// The decision about an event was refused.
    #[error(transparent)]
    Event(
        /// Why.
        #[from]
        EventError,
    ),
    /// The saga did not turn back in time.
    #[error("{saga} is not rolled back, but {status}: `show` tells why")]
    NotRolledBack {
        /// The saga.
        saga: SagaId,
        /// Where it stands.
        status: &'static str,
    },
    /// The definition is not registered here.
    #[error("this binary has no definition {definition} v{version}, and {definition} is no saga's id")]
    UnknownDefinition {
        /// Its name.
        definition: String,
        /// Its version.
        version: u32,
    },
    /// There is no such saga.
    #[error("there is no saga {saga}")]
    NotFound {
        /// The saga.
        saga: SagaId,
    },
    /// There are unfinished sagas that this binary cannot continue.
    #[error("{text}\nthere are unfinished sagas that this binary cannot continue")]
    NotClean {
        /// Which.
        text: String,
    },
    /// The journal says what must not be.
    #[error("{text}\nthe journal does not keep what is promised")]
    NotVerified {
        /// What is wrong.
        text: String,
    },
    /// The output is not JSON.
    #[error("--output is not JSON: {source}")]
    Output {
        /// Why.
        #[from]
        source: CheckpointError,
    },
}

/// Runs the command, and returns what to print: a table for people, or JSON for programs.
///
/// # Errors
/// See [`SagactlError`].
pub async fn run(engine: &Engine, command: Command, as_json: bool) -> Result<String, SagactlError> {
    match command {
        Command::List { status, definition, key, before, since, until, mentions, limit } => {
            let now = Utc::now();
            let filter = ListFilter {
                status: status.map(Status::status),
                definition,
                key_prefix: key,
                before,
                created_after: since.map(|since| since.seen_from(now)),
                created_before: until.map(|until| until.seen_from(now)),
                mentions,
            };
            Ok(list(&engine.list(&filter, limit).await?, as_json))
        }
        Command::Show { saga } => {
            let summary = engine.status(saga).await?.ok_or(SagactlError::NotFound { saga })?;
            let turns = engine.history(saga).await?.ok_or(SagactlError::NotFound { saga })?;
            let attempts = history::attempts(&turns);
            Ok(if as_json {
                let attempts: Vec<Value> = attempts.iter().map(history::Attempt::to_json).collect();
                json!({ "saga": describe(&summary), "attempts": attempts }).to_string()
            } else {
                format!("{}\n{}", headline(&summary), history::tree(&attempts))
            })
        }
        Command::DeadLetters { limit } => Ok(letters(&engine.dead_letters(limit).await?, as_json)),
        Command::Stats => stats(engine, as_json).await,
        Command::Check => check(&engine.check().await?, as_json),
        Command::Verify { saga } => verify::verify(engine, saga, as_json).await,
        Command::Retry(decision) => decide(engine, decision, Resolution::Retry).await,
        Command::RetryNow { saga, who } => {
            engine.operator().retry_now(saga, &who.actor, &who.reason).await?;
            Ok(format!("{saga} was told: what waits for its next attempt is tried as soon as a worker gets to it"))
        }
        Command::Probe(decision) => decide(engine, decision, Resolution::Probe).await,
        Command::Skip(decision) => decide(engine, decision, Resolution::Skip).await,
        Command::NotApplied(decision) => decide(engine, decision, Resolution::NotApplied).await,
        Command::Supply { decision, output } => {
            let output = Payload::from_json(output)?;
            decide(engine, decision, Resolution::Supply(output)).await
        }
        Command::Cancel { saga, who } => {
            engine.operator().cancel(saga, &who.actor, &who.reason).await?;
            Ok(format!("{saga} was told; `show` tells whether it came in time"))
        }
        Command::Rollback { saga, who, wait } => roll_back(engine, saga, &who, Duration::from_secs(wait)).await,
        Command::Diagram { of, version, dot } => diagram(engine, &of, version, dot).await,
        Command::Locks { limit } => Ok(outbox::locks(&engine.operator().locks(limit).await?, as_json)),
        Command::DeadEvents { limit } => Ok(outbox::events(&engine.operator().dead_events(limit).await?, as_json)),
        Command::Republish { event, who } => {
            engine.operator().republish(&event, &who.actor, &who.reason).await?;
            Ok(format!("{event} is published as soon as a worker gets to it"))
        }
    }
}

/// Cancels, and waits for what comes of it.
async fn roll_back(engine: &Engine, saga: SagaId, who: &Who, wait: Duration) -> Result<String, SagactlError> {
    engine.operator().cancel(saga, &who.actor, &who.reason).await?;
    let until = tokio::time::Instant::now() + wait;
    loop {
        let summary = engine.status(saga).await?.ok_or(SagactlError::NotFound { saga })?;
        match summary.status {
            SagaStatus::Ended(End::RolledBack) | SagaStatus::Watching => {
                return Ok(format!("{saga} is rolled back: all that it did is undone"));
            }
            SagaStatus::Running | SagaStatus::Waiting | SagaStatus::NeedsAttention
                if tokio::time::Instant::now() < until =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            status => return Err(SagactlError::NotRolledBack { saga, status: Status::of(status) }),
        }
    }
}

async fn diagram(engine: &Engine, of: &str, version: u32, dot: bool) -> Result<String, SagactlError> {
    let format = if dot { Format::Dot } else { Format::Mermaid };
    match of.parse() {
        Ok(saga) => Ok(engine.diagram_of(saga, format).await?),
        Err(_) => {
            let unknown = || SagactlError::UnknownDefinition { definition: of.to_owned(), version };
            engine.diagram(of, version, format).ok_or_else(unknown)
        }
    }
}

async fn decide(engine: &Engine, decision: Decision, resolution: Resolution) -> Result<String, SagactlError> {
    let Decision { saga, step, who } = decision;
    let name = resolution.as_str().to_owned();
    engine.operator().resolve(saga, &step, resolution, &who.actor, &who.reason).await?;
    Ok(format!("{saga} {step}: {name}, journalled; any worker goes on with it"))
}

fn describe(summary: &SagaSummary) -> Value {
    json!({
        "id": summary.header.id.to_string(),
        "definition": summary.header.definition,
        "version": summary.header.version,
        "key": summary.header.key,
        "status": Status::of(summary.status),
        "started": summary.header.created_at.to_utc().to_rfc3339(),
    })
}

fn headline(summary: &SagaSummary) -> String {
    let header = &summary.header;
    let (status, started) = (Status::of(summary.status), header.created_at.to_utc().format("%F %T%.3f"));
    format!("{} {} v{} {:?}: {status}, started {started}", header.id, header.definition, header.version, header.key)
}

fn table(titles: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(titles.to_vec());
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    table.to_string()
}

fn list(sagas: &[SagaSummary], as_json: bool) -> String {
    if as_json {
        return Value::Array(sagas.iter().map(describe).collect()).to_string();
    }
    let row = |summary: &SagaSummary| {
        let header = &summary.header;
        vec![
            header.id.to_string(),
            format!("{} v{}", header.definition, header.version),
            header.key.clone(),
            Status::of(summary.status).to_owned(),
            header.created_at.to_utc().format("%F %T").to_string(),
        ]
    };
    table(&["saga", "definition", "key", "status", "started"], sagas.iter().map(row).collect())
}

fn letters(letters: &[DeadLetter], as_json: bool) -> String {
    let step = |letter: &DeadLetter| letter.step.as_ref().map_or("(the saga)".to_owned(), ToString::to_string);
    if as_json {
        let letter = |letter: &DeadLetter| {
            json!({
                "saga": letter.saga.to_string(), "key": letter.key, "definition": letter.definition,
                "step": step(letter), "op": letter.op.as_str(), "reason": letter.reason.as_str(),
                "error": letter.error, "attempts": letter.attempts,
                "opened": letter.opened_at.to_utc().to_rfc3339(),
            })
        };
        return Value::Array(letters.iter().map(letter).collect()).to_string();
    }
    let row = |letter: &DeadLetter| {
        vec![
            letter.saga.to_string(),
            letter.key.clone(),
            format!("{} {}", letter.op, step(letter)),
            letter.reason.to_string(),
            letter.attempts.to_string(),
            letter.error.clone(),
        ]
    };
    table(&["saga", "key", "waits", "reason", "attempts", "error"], letters.iter().map(row).collect())
}

fn check(report: &CheckReport, as_json: bool) -> Result<String, SagactlError> {
    let mut rows: Vec<(String, String, String)> = Vec::new();
    let kind = |(definition, version): &(String, u32)| format!("{definition} v{version}");
    for (of, count) in &report.continues {
        rows.push(("can continue".to_owned(), kind(of), format!("{count} sagas")));
    }
    for (of, count) in &report.unregistered {
        rows.push(("only another binary can finish".to_owned(), kind(of), format!("{count} sagas")));
    }
    for Undecodable { saga, step, error, .. } in &report.undecodable {
        rows.push(("needs an upcaster".to_owned(), format!("{saga} {step}"), error.clone()));
    }
    for (saga, error) in &report.unreadable {
        rows.push(("cannot be read".to_owned(), saga.to_string(), error.clone()));
    }
    let text = if as_json {
        let row = |(verdict, what, detail)| json!({ "verdict": verdict, "what": what, "detail": detail });
        Value::Array(rows.into_iter().map(row).collect()).to_string()
    } else {
        table(&["verdict", "what", "detail"], rows.into_iter().map(|(a, b, c)| vec![a, b, c]).collect())
    };
    if report.is_clean() { Ok(text) } else { Err(SagactlError::NotClean { text }) }
}

/// How many sagas are counted for each status.
const COUNTED_MAX: usize = 10_000;

async fn stats(engine: &Engine, as_json: bool) -> Result<String, SagactlError> {
    let mut counts = Vec::new();
    for status in Status::ALL {
        let filter = ListFilter { status: Some(status.status()), ..ListFilter::default() };
        counts.push((status.name(), engine.list(&filter, COUNTED_MAX).await?.len()));
    }
    if as_json {
        return Ok(Value::Object(counts.into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect())
            .to_string());
    }
    let count = |count: usize| if count == COUNTED_MAX { format!("{count} or more") } else { count.to_string() };
    let mut text =
        table(&["status", "sagas"], counts.iter().map(|(name, n)| vec![(*name).to_owned(), count(*n)]).collect());
    let open = engine.dead_letters(COUNTED_MAX).await?.len();
    let _infallible = write!(text, "\n{open} dead letters are open");
    Ok(text)
}
