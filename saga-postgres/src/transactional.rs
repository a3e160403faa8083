//! Steps whose effect is writes of a Postgres database of the host's own: they happen exactly once.

use std::sync::Arc;

use saga_core::{Checkpoint, Compensation, Outcome, Payload, Probe, Step, StepContext, StepError, async_trait};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::fence::{Closed, Fence, Recalled, Undo};

/// A step that writes to the host's own database, and is handed the open transaction to do it. Wrap it in
/// [`Transactional`].
///
/// Its writes, the mark that they were made and what the step leaves are one transaction. However often the
/// step is tried, and wherever a worker dies, they are made once: who comes again is rolled back, finds the
/// mark, and answers what was left. An error rolls everything back, and so has certainly had no effect.
///
/// ```no_run
/// use saga_core::{Definition, StepContext, StepError, async_trait};
/// use saga_postgres::{Transactional, TransactionalCompensation, TransactionalStep};
/// use sqlx::PgConnection;
///
/// struct CreateOrder;
///
/// #[async_trait]
/// impl TransactionalStep for CreateOrder {
///     type Input = String;
///     type Output = String;
///
///     async fn run(&self, tx: &mut PgConnection, _cx: &StepContext, cart: String) -> Result<String, StepError> {
///         sqlx::query("INSERT INTO orders (cart) VALUES ($1)").bind(cart.clone()).execute(tx).await?;
///         Ok(cart)
///     }
/// }
///
/// #[async_trait]
/// impl TransactionalCompensation for CreateOrder {
///     async fn compensate(&self, tx: &mut PgConnection, _cx: &StepContext, cart: String, _: String) -> Result<(), StepError> {
///         sqlx::query("DELETE FROM orders WHERE cart = $1").bind(cart).execute(tx).await?;
///         Ok(())
///     }
/// }
///
/// # fn example(pool: sqlx::PgPool) -> Result<(), saga_core::BuildError> {
/// let definition = Definition::build("order", 1, |saga, cart| {
///     let order = saga.compensatable("create-order", Transactional::new(pool, CreateOrder), cart);
///     saga.returns(order)
/// })?;
/// # Ok(()) }
/// ```
#[async_trait]
pub trait TransactionalStep: Send + Sync + 'static {
    /// What the step is given.
    type Input: Checkpoint;
    /// What the step leaves behind.
    type Output: Checkpoint;

    /// Writes, within the transaction. Do not end it, and write nowhere else.
    async fn run(
        &self,
        transaction: &mut PgConnection,
        cx: &StepContext,
        input: Self::Input,
    ) -> Result<Self::Output, StepError>;
}

/// Undoes what a [`TransactionalStep`] wrote. Asked only when it was written, and then once.
#[async_trait]
pub trait TransactionalCompensation: TransactionalStep {
    /// Writes, within the transaction, what undoes the step.
    async fn compensate(
        &self,
        transaction: &mut PgConnection,
        cx: &StepContext,
        input: Self::Input,
        output: Self::Output,
    ) -> Result<(), StepError>;
}

/// Makes a [`Step`] of a [`TransactionalStep`], with a probe that can always tell. It needs the table of
/// [`Fence::install`] in the database of the pool.
#[derive(Debug)]
pub struct Transactional<S> {
    pool: PgPool,
    step: Arc<S>,
}

impl<S: TransactionalStep> Transactional<S> {
    /// The step, on this database.
    pub fn new(pool: PgPool, step: S) -> Self {
        Self { pool, step: Arc::new(step) }
    }
}

/// Runs the work in a task of its own: a step's future may be dropped at any point, and a transaction that is
/// cancelled while it begins would be left open in the pool.
async fn shielded<T: Send + 'static>(
    work: impl Future<Output = Result<T, StepError>> + Send + 'static,
) -> Result<T, StepError> {
    // A panic of the step has rolled back, but who knows what else it has done: unknown.
    tokio::spawn(work).await?
}

fn decode<T: Checkpoint>(stored: Option<String>) -> Result<T, StepError> {
    let stored = stored.ok_or_else(|| StepError::fatal("the fence knows the step, and not what it left"))?;
    Ok(T::decode(&Payload::from_json(stored)?)?)
}

#[async_trait]
impl<S: TransactionalStep> Step for Transactional<S> {
    type Input = S::Input;
    type Output = S::Output;

    async fn run(&self, cx: &StepContext, input: S::Input) -> Result<S::Output, StepError> {
        let (pool, step, cx) = (self.pool.clone(), self.step.clone(), cx.clone());
        shielded(async move {
            let mut connection = pool.acquire().await.map_err(StepError::unsent)?;
            let mut tx = connection.begin().await.map_err(StepError::unsent)?;
            // The mark comes last: one round trip less than to enter first and leave the output afterwards, and
            // nearly every call is the first. Who is not has written in vain, and is rolled back.
            let failure = match step.run(&mut tx, &cx, input).await {
                Ok(output) => {
                    let left = output.encode().map_err(StepError::rejected)?;
                    if Fence::leave(&mut tx, cx.key(), left.as_json()).await.map_err(StepError::unsent)? {
                        // From here on nobody knows, until somebody asks again.
                        tx.commit().await?;
                        return Ok(output);
                    }
                    StepError::unsent("the mark that was in the way is gone")
                }
                Err(error) => error.without_effect(),
            };
            tx.rollback().await.map_err(StepError::unsent)?;
            // A step that was done before may fail by its own writes: what counts is the mark.
            match Fence::recall(&mut connection, cx.key()).await.map_err(StepError::unsent)? {
                Some(Recalled::Done(left)) => decode(left),
                Some(Recalled::Undone) => Err(StepError::rejected("the step was undone before it came")),
                None => Err(failure),
            }
        })
        .await
    }

    async fn probe(&self, cx: &StepContext, _: S::Input) -> Result<Probe<S::Output>, StepError> {
        let (pool, cx) = (self.pool.clone(), cx.clone());
        shielded(async move {
            let mut tx = pool.begin().await?;
            let answer = match Fence::close(&mut tx, cx.step_key()).await? {
                Closed::Applied => Probe::Applied(decode(Fence::output(&mut tx, cx.step_key()).await?)?),
                Closed::NotApplied => Probe::NotApplied,
            };
            tx.commit().await?;
            Ok(answer)
        })
        .await
    }
}

#[async_trait]
impl<S: TransactionalCompensation> Compensation for Transactional<S> {
    async fn compensate(&self, cx: &StepContext, input: S::Input, _: Outcome<S::Output>) -> Result<(), StepError> {
        let (pool, step, cx) = (self.pool.clone(), self.step.clone(), cx.clone());
        shielded(async move {
            let mut tx = pool.begin().await?;
            if Fence::undo(&mut tx, cx.step_key()).await? == Undo::Applied {
                let output = decode(Fence::output(&mut tx, cx.step_key()).await?)?;
                step.compensate(&mut tx, &cx, input, output).await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }
}
