use super::*;

async fn all(mut input: Input) -> (Vec<InputRecord>, Vec<String>) {
    let (mut records, mut refused) = (Vec::new(), Vec::new());
    while let Some(item) = input.next().await.unwrap() {
        match item {
            Item::Record(record) => records.push(record),
            Item::Refused(why) => refused.push(why.to_string()),
        }
    }
    (records, refused)
}

#[tokio::test]
async fn the_built_in_events_all_have_an_id_of_their_own() {
    let (records, refused) = all(Input::earthquakes().unwrap()).await;
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(records.len(), 1_707);
    let ids: std::collections::HashSet<_> = records.iter().map(|r| &r.request_id).collect();
    let keys: std::collections::HashSet<_> = records.iter().map(|r| &r.key).collect();
    assert_eq!((ids.len(), keys.len()), (1_707, 12));
    assert_eq!(
        (records[0].request_id.as_str(), records[0].key.as_str()),
        ("ci37868143", "ci")
    );
}

#[tokio::test]
async fn what_is_no_record_is_told_with_its_line_and_passed_over() {
    let text: &[u8] = b"{\"id\":1}\nnonsense\n\n{\"name\":2}\n{\"id\":{}}\n{\"id\":\"b\"}";
    let pointers = Pointers {
        id: "/id".parse().ok(),
        key: None,
    };
    let input = Input::from_reader(
        "x.ndjson".to_owned(),
        Box::new(text),
        Format::Auto,
        pointers,
    )
    .unwrap();
    let (records, refused) = all(input).await;
    let ids: Vec<_> = records
        .iter()
        .map(|record| record.request_id.as_str())
        .collect();
    assert_eq!(ids, ["1", "b"]);
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(
        refused[0].starts_with("line 2: is not JSON"),
        "{}",
        refused[0]
    );
    assert_eq!(refused[1], "line 4: there is nothing at /id");
    assert_eq!(
        refused[2],
        "line 5: /id is an object; it must be text or a number"
    );
}

#[tokio::test]
async fn without_an_id_pointer_every_record_gets_an_id() {
    let text: &[u8] = b"[1, {\"a\": [2]},\n \"x\"]";
    let input = Input::from_reader(
        "x".to_owned(),
        Box::new(text),
        Format::Auto,
        Pointers::default(),
    )
    .unwrap();
    let (records, refused) = all(input).await;
    assert!(refused.is_empty());
    let payloads: Vec<_> = records.iter().map(|record| &record.payload[..]).collect();
    assert_eq!(payloads, [&b"1"[..], b"{\"a\": [2]}", b"\"x\""]);
    assert!(records.iter().all(|record| record.request_id.len() == 36));
    assert_ne!(records[0].request_id, records[1].request_id);
}

#[tokio::test]
async fn what_stands_in_front_is_passed_over() {
    for (text, unit) in [
        (&b"{\"id\":1}\n{\"id\":2}\n\n{\"id\":3}\n"[..], "line"),
        (b"[{\"id\":1}, {\"id\":2},\n\n0, {\"id\":3}]", "element"),
    ] {
        for (first, expected) in [(1, 3), (2, 2), (3, 1), (4, 1), (5, 0)] {
            let reader = Box::new(text);
            let pointers = Pointers {
                id: "/id".parse().ok(),
                key: None,
            };
            let input = Input::from_reader("x".to_owned(), reader, Format::Auto, pointers);
            let input = input.unwrap();
            let (records, _) = all(input.starting_at(first)).await;
            assert_eq!(records.len(), expected, "{first}");
            assert!(
                records
                    .iter()
                    .all(|it| it.unit == unit && it.number >= first)
            );
        }
    }
}

fn read(text: &'static [u8], format: Format, id: Option<&str>) -> Input {
    let pointers = Pointers {
        id: id.and_then(|id| id.parse().ok()),
        key: None,
    };
    Input::from_reader("x".to_owned(), Box::new(text), format, pointers).unwrap()
}

#[tokio::test]
async fn lines_are_text_and_rows_are_objects() {
    let (records, refused) = all(read(b"a b\n\n {\nx\xff\n", Format::Lines, None)).await;
    let payloads: Vec<_> = records.iter().map(|record| &record.payload[..]).collect();
    assert_eq!(payloads, [&b"a b"[..], b" {"]);
    assert_eq!(records[1].number, 3);
    assert_eq!(records[0].content_type, "text/plain; charset=utf-8");
    assert!(
        refused[0].starts_with("line 4: is not UTF-8"),
        "{refused:?}"
    );

    let csv = b"id,n\n1,x\n2\n,y\n3,\"z\n\"\n4,w\n";
    let (records, refused) = all(read(csv, Format::Csv, Some("/id"))).await;
    let found: Vec<_> = records
        .iter()
        .map(|record| (record.number, record.request_id.as_str()))
        .collect();
    assert_eq!(found, [(2, "1"), (5, "3"), (7, "4")]);
    assert_eq!(&records[1].payload[..], br#"{"id":"3","n":"z\n"}"#);
    assert_eq!(records[0].content_type, "application/json");
    assert_eq!(
        refused,
        [
            "line 3: the row has 1 fields, and the header 2",
            "line 4: there is nothing at /id"
        ]
    );
    // The header is read whatever is passed over.
    let later = read(csv, Format::Csv, Some("/id")).starting_at(6);
    assert_eq!(all(later).await.0.len(), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_gone_on_with_is_named_with_the_place() {
    let end = |text, format| async move {
        let mut input = read(text, format, None);
        loop {
            match input.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it has an end"),
                Err(error) => {
                    let cause = std::error::Error::source(&error).unwrap();
                    return format!("{error}: {cause}");
                }
            }
        }
    };
    assert_eq!(
        end(b"[1,,2]", Format::Auto).await,
        "x cannot be read as NDJSON or one JSON array: element 2 is empty"
    );
    assert_eq!(
        end(b"{}", Format::Json).await,
        "x cannot be read as one JSON array: it begins with '{' on line 1, and not with [; \
         lines of JSON are --format ndjson, and columns --format csv"
    );
    assert!(
        end(b"a,a\n", Format::Csv)
            .await
            .starts_with("x cannot be read as CSV: the header")
    );
}
