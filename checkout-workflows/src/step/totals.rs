//! The authoritative totals.

use async_trait::async_trait;
use saga_core::{Step, StepContext, StepError};

use crate::pricing::{Rates, Totals};
use crate::shop::Checkout;

pub(crate) struct CalculateTotals {
    pub(crate) rates: Rates,
}

#[async_trait]
impl Step for CalculateTotals {
    type Input = Checkout;
    type Output = Totals;

    async fn run(&self, _cx: &StepContext, checkout: Checkout) -> Result<Totals, StepError> {
        self.rates.totals(&checkout).map_err(StepError::rejected)
    }
}
