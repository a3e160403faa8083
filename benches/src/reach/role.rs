//! What a process that was started by another does.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};

use super::arena::{GRACE, engine, saga};
use super::{Outcome, claim, recovery};
use crate::{Load, measure, noop};

/// The roles.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// So many callers, each one saga after the other: says once when it is ready, and then its rate.
    Callers {
        /// The database.
        url: String,
        /// Callers.
        at_once: usize,
        /// How long it is measured.
        seconds: f64,
    },
    /// Runs what others start.
    Claims {
        /// The database.
        url: String,
    },
    /// Starts so many sagas that do not end while this process lives, and says when all of them run.
    Holds {
        /// The database.
        url: String,
        /// Sagas.
        sagas: usize,
    },
}

/// Three steps, as the others measure them.
pub(super) const STEPS: usize = 3;

impl Role {
    /// Plays it until the input ends.
    ///
    /// # Errors
    /// When anything fails: the process that started this one then gives up.
    pub async fn play(self) -> Outcome<()> {
        let mut told = BufReader::new(tokio::io::stdin()).lines();
        match self {
            Self::Callers { url, at_once, seconds } => {
                let definition = noop(STEPS)?;
                let engine = engine(&url, at_once).await?.register(&definition).open().await?;
                say(&"ready")?;
                told.next_line().await?;
                let load = Load::new(at_once, Duration::from_secs_f64(seconds));
                let measured = measure(saga(&engine, &definition), load, async || Ok(())).await?;
                say(&(measured.sagas as f64 / measured.took.as_secs_f64()))?;
                until_the_end(told).await?;
                engine.shutdown(GRACE).await;
            }
            Self::Claims { url } => {
                let engine = engine(&url, 0).await?.register(&claim::definition()?).open().await?;
                say(&"ready")?;
                until_the_end(told).await?;
                engine.shutdown(GRACE).await;
            }
            Self::Holds { url, sagas } => {
                let _engine = recovery::hold(&url, sagas).await?;
                say(&"ready")?;
                until_the_end(told).await?;
            }
        }
        Ok(())
    }
}

fn say(what: &impl Serialize) -> Outcome<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

async fn until_the_end(mut told: Lines<BufReader<Stdin>>) -> Outcome<()> {
    while told.next_line().await?.is_some() {}
    Ok(())
}
