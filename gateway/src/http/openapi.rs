//! What is served over HTTP, as OpenAPI 3.1.
//!
//! Promises: `openapi.json` names every route and no other, and every answer that a route gives
//! stands in it with its media type; tests hold both.

/// The document.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::ErrorReason;
    use serde_json::Value;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    #[test]
    fn it_has_the_version_of_the_program() {
        assert_eq!(document()["openapi"], "3.1.0");
        assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn every_reason_stands_in_it_with_its_status() {
        let document = document();
        let reasons = document["components"]["schemas"]["Reason"]["enum"].as_array();
        let reasons: Vec<_> = reasons
            .unwrap()
            .iter()
            .map(|it| it.as_str().unwrap())
            .collect();
        let responses = [
            &document["paths"]["/api/datasync"]["post"]["responses"],
            &document["paths"]["/api/receipts/{id}"]["get"]["responses"],
        ];
        let mut known = 0;
        for number in 1..64 {
            let Ok(reason) = ErrorReason::try_from(number) else {
                break;
            };
            known += 1;
            assert!(reasons.contains(&reason.name()), "{}", reason.name());
            let status = reason.http_status().to_string();
            assert!(
                responses.iter().any(|it| it.get(&status).is_some()),
                "{}: {status}",
                reason.name()
            );
        }
        assert_eq!(reasons.len(), known);
    }

    /// Every `$ref` leads somewhere.
    #[test]
    fn its_references_resolve() {
        fn visit(value: &Value, document: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(to)) = members.get("$ref") {
                        let pointer = to.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{to}");
                    }
                    members.values().for_each(|value| visit(value, document));
                }
                Value::Array(items) => items.iter().for_each(|value| visit(value, document)),
                _ => {}
            }
        }
        visit(&document(), &document());
    }
}
