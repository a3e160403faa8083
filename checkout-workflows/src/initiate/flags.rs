//! Feature flags, by the device's system, the city and the user.

use serde::{Deserialize, Serialize};

use super::schema::InitiateCheckoutRequest;

/// The flags of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Flag {
    /// Personal data of line items is stored encrypted.
    #[serde(rename = "isLineItemPIIDataEncryptionEnabled")]
    LineItemPiiDataEncryption,
    /// Execution contexts are stored, so that a repeated request is answered from them.
    #[serde(rename = "isExecutionContextPersistenceEnabled")]
    ExecutionContextPersistence,
}

impl Flag {
    /// The documented name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LineItemPiiDataEncryption => "isLineItemPIIDataEncryptionEnabled",
            Self::ExecutionContextPersistence => "isExecutionContextPersistenceEnabled",
        }
    }
}

/// For whom flags are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience<'a> {
    /// The device's system.
    pub device_os: &'a str,
    /// The key of the city.
    pub city: &'a str,
    /// The user.
    pub user_id: &'a str,
}

impl<'a> Audience<'a> {
    /// Whose request it is.
    #[must_use]
    pub fn of(request: &'a InitiateCheckoutRequest) -> Self {
        Self { device_os: &request.device.os, city: &request.dimensions.city.key, user_id: &request.user_id }
    }
}

/// Answers whether a flag is on. Ask once for each checkout, and keep the answers ([`FlagSet`]): a flag that
/// turns while a checkout is under way is for the next one.
pub trait Flags: Send + Sync {
    /// Whether the flag is on for them.
    fn is_on(&self, flag: Flag, audience: &Audience<'_>) -> bool;

    /// All flags for them.
    fn resolve(&self, audience: &Audience<'_>) -> FlagSet {
        FlagSet {
            line_item_pii_data_encryption: self.is_on(Flag::LineItemPiiDataEncryption, audience),
            execution_context_persistence: self.is_on(Flag::ExecutionContextPersistence, audience),
        }
    }
}

/// The flags as they were when a checkout began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagSet {
    /// [`Flag::LineItemPiiDataEncryption`].
    #[serde(rename = "isLineItemPIIDataEncryptionEnabled")]
    pub line_item_pii_data_encryption: bool,
    /// [`Flag::ExecutionContextPersistence`].
    #[serde(rename = "isExecutionContextPersistenceEnabled")]
    pub execution_context_persistence: bool,
}

/// Flags from configuration. Both are on, unless configuration says otherwise: the safe sides of both.
///
/// ```
/// use checkout_workflows::initiate::flags::{Audience, ConfiguredFlags, Flag, Flags};
///
/// let flags: ConfiguredFlags = serde_json::from_str(
///     r#"{"isLineItemPIIDataEncryptionEnabled": {"on": true, "rules": [{"cities": ["delhi"], "on": false}]}}"#,
/// )?;
/// let delhi = Audience { device_os: "ios", city: "delhi", user_id: "user_1" };
/// assert!(!flags.is_on(Flag::LineItemPiiDataEncryption, &delhi));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfiguredFlags {
    /// [`Flag::LineItemPiiDataEncryption`].
    #[serde(rename = "isLineItemPIIDataEncryptionEnabled")]
    pub line_item_pii_data_encryption: FlagRules,
    /// [`Flag::ExecutionContextPersistence`].
    #[serde(rename = "isExecutionContextPersistenceEnabled")]
    pub execution_context_persistence: FlagRules,
}

/// When one flag is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagRules {
    /// What holds where no rule does.
    pub on: bool,
    /// The first one that matches decides.
    #[serde(default)]
    pub rules: Vec<FlagRule>,
}

impl Default for FlagRules {
    fn default() -> Self {
        Self { on: true, rules: Vec::new() }
    }
}

/// What holds for some. An empty list is everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagRule {
    /// The devices' systems; upper and lower case are the same.
    #[serde(default)]
    pub device_os: Vec<String>,
    /// The keys of the cities.
    #[serde(default)]
    pub cities: Vec<String>,
    /// The users.
    #[serde(default)]
    pub users: Vec<String>,
    /// What holds for them.
    pub on: bool,
}

impl FlagRule {
    fn matches(&self, audience: &Audience<'_>) -> bool {
        let os = &self.device_os;
        (os.is_empty() || os.iter().any(|os| os.eq_ignore_ascii_case(audience.device_os)))
            && (self.cities.is_empty() || self.cities.iter().any(|city| city == audience.city))
            && (self.users.is_empty() || self.users.iter().any(|user| user == audience.user_id))
    }
}

impl Flags for ConfiguredFlags {
    fn is_on(&self, flag: Flag, audience: &Audience<'_>) -> bool {
        let configured = match flag {
            Flag::LineItemPiiDataEncryption => &self.line_item_pii_data_encryption,
            Flag::ExecutionContextPersistence => &self.execution_context_persistence,
        };
        configured.rules.iter().find(|rule| rule.matches(audience)).map_or(configured.on, |rule| rule.on)
    }
}
