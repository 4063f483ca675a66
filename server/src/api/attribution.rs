//! Who used something, and how: the fields that charges, holds and estimates share.

/// Who used something, and how.
///
/// It is written into the structs of requests by [`attributed`], because serde cannot refuse
/// unknown fields of a struct with flattened parts.
macro_rules! attributed {
    ($(#[$attribute:meta])* pub struct $name:ident { $($(#[$field_attribute:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$attribute])*
        pub struct $name {
            $($(#[$field_attribute])* $field: $type,)*
            /// The user. A key of a user can name no other.
            user_id: Option<String>,
            /// The team.
            team: Option<String>,
            /// The model. Usage is priced as this model, whatever version it names.
            model: Option<String>,
            /// The service, such as `chat`.
            service: Option<String>,
            /// The region, if the usage names none.
            region: Option<String>,
            /// The service tier, if the usage names none.
            service_tier: Option<String>,
            /// Tags: an object of strings.
            tags: Option<crate::api::values::Document>,
            /// The time of use. The default is now.
            event_at: Option<crate::api::values::Time>,
            /// The device, for keys and wallets that allow only some devices.
            device: Option<String>,
        }

        impl $name {
            /// The arguments that SQL functions share, in the order of the statements: user, team,
            /// model, service, region, tier, tags, time, address, device.
            fn attribution(&mut self, origin: std::net::IpAddr) -> [Option<String>; 10] {
                [
                    self.user_id.take(),
                    self.team.take(),
                    self.model.take(),
                    self.service.take(),
                    self.region.take(),
                    self.service_tier.take(),
                    self.tags.take().map(crate::api::values::Document::into_text),
                    self.event_at.take().map(crate::api::values::Time::into_text),
                    Some(origin.to_string()),
                    self.device.take(),
                ]
            }
        }
    };
}

pub(super) use attributed;
