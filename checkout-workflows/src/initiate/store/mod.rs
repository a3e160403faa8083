//! The tables of the initiate flow, on SQLite or Postgres with the same statements.
//!
//! * **One module is one store**: its tables are written by nobody else.
//! * **Every write is made once** under the key of the step that makes it: again under the same key, it
//!   answers what it answered then. The key of a step may be used for one write of each kind; a step that
//!   makes several of a kind takes `key.part(…)` for each.
//! * **Every write that a compensation takes back has an `undo_…`**, which works before the write, after
//!   it, and twice, and refuses the write when it comes later.
//! * **States change by one pure function** for each entity (`next`), and every change is a
//!   compare-and-set on the state that was read.

mod arrears;
mod catalogue;
mod checkout_orders;
mod database;
mod error;
mod execution_contexts;
mod key;
mod line_items;
mod location;
mod opt_ins;
mod payment_groups;
mod preferences;
mod requirements;
mod settlements;
mod state;

pub use arrears::{Arrear, ArrearEvent, ArrearState, Arrears, NewArrear};
pub use catalogue::{Catalogue, CatalogueSeed, Coupon, Credits, Discount, Plan, Slot};
pub use checkout_orders::{CheckoutOrder, CheckoutOrderEvent, CheckoutOrderState, CheckoutOrders, NewCheckoutOrder};
pub use error::{IllegalTransition, StoreError};
pub use execution_contexts::{
    ExecutionContext, ExecutionContexts, ExecutionEvent, ExecutionStatus, NewExecutionContext, Opened, StepEntry,
    StepStatus,
};
pub use key::Compensation;
pub use line_items::{Amounts, LineItem, LineItemChange, LineItemEvent, LineItemState, LineItems, NewLineItem, Upsert};
pub use location::Location;
pub use opt_ins::{NewOptIn, OptIn, OptInChange, OptInEvent, OptInState, OptIns};
pub use payment_groups::{NewPaymentGroup, PaymentGroup, PaymentGroupEvent, PaymentGroupState, PaymentGroups};
pub use preferences::{NewPreference, Preference, PreferenceEvent, PreferenceMapping, PreferenceState, Preferences};
pub use requirements::{NewRequirement, Receipt, Requirement, RequirementEvent, RequirementState, Requirements};
pub use settlements::{NewSettlement, Settlement, SettlementEvent, SettlementState, Settlements};

use database::Database;
use sqlx::AnyPool;

/// All the stores of the initiate flow, in one database. Cheap to clone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stores {
    /// The request, its answer, and what was done for it.
    pub execution_contexts: ExecutionContexts,
    /// What is paid together.
    pub payment_groups: PaymentGroups,
    /// What is sold.
    pub line_items: LineItems,
    /// The checkouts.
    pub checkout_orders: CheckoutOrders,
    /// What customers have subscribed to.
    pub opt_ins: OptIns,
    /// What customers want after the sale: where and when.
    pub preferences: Preferences,
    /// The payments to be collected.
    pub requirements: Requirements,
    /// What failed payments left to be collected later.
    pub arrears: Arrears,
    /// Settlements in the middle of a tranche.
    pub settlements: Settlements,
    /// Plans, slots, coupons and credits, to read only.
    pub catalogue: Catalogue,
    database: Database,
}

impl Stores {
    /// Connects to a SQLite file (`sqlite://…`) or a Postgres database (`postgres://…`).
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let database = Database::open(url).await?;
        Ok(Self {
            execution_contexts: ExecutionContexts::new(&database),
            payment_groups: PaymentGroups::new(&database),
            line_items: LineItems::new(&database),
            checkout_orders: CheckoutOrders::new(&database),
            opt_ins: OptIns::new(&database),
            preferences: Preferences::new(&database),
            requirements: Requirements::new(&database),
            arrears: Arrears::new(&database),
            settlements: Settlements::new(&database),
            catalogue: Catalogue::new(&database),
            database,
        })
    }

    /// Brings the tables to the present version, however many processes start at the same time.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.database.migrate().await
    }

    /// The pool, for looking at the tables from outside.
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        self.database.pool()
    }
}
