//! Which conversation a request belongs to, told by the request alone: there is no id that all clients send.
//!
//! A conversation has up to five fingerprints, all keyed with the store's secret. Each request is looked up by them from
//! the surest on ([`Conversation::known_as`]), and leaves those by which later ones may find it
//! ([`Conversation::prints`]):
//!
//! 1. the tool loop under way, by the id of its first call, which vendors draw at random ([`Conversation::tool_loop`]);
//! 2. the same without the instructions, which some programs change from call to call ([`Bare::tool_loop`]);
//! 3. the questions up to the turn before this one, without the instructions ([`Bare::follows`]);
//! 4. the name that the caller gave it, or how it began ([`Conversation::print`]); where that may be an example, with
//!    which every request of a batch begins, together with the number of the turn;
//! 5. how it began, without the instructions, always with the number of the turn ([`Bare::begun`]).

use std::iter::once;

use serde_json::Value;

use crate::protocol::{ChatRequest, ImageSource, Message, Part, Role};
use crate::store::{Fingerprint, RequestFacts, Salt, Token};

/// The conversation that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversation {
    /// The conversation's fingerprint.
    pub print: Fingerprint,
    /// Whether the caller named the conversation or its user; else it is recognised by its first turns alone, which two
    /// people may share.
    pub named: bool,
    /// Whether it is certain, without a look at earlier requests, that no turn of it was asked elsewhere: it is the first,
    /// or the caller named the conversation itself.
    pub begins_here: bool,
    /// Questions asked in the conversation so far, this one included.
    pub turn: u32,
    /// The turn that is surely answered: the one before, or in a tool loop its own.
    pub before: Option<u32>,
    /// The tool loop under way, by the id of its first call: vendors give each call another id, so that two loops that
    /// began with the same words at the same time are told apart.
    pub tool_loop: Option<Fingerprint>,
    /// The conversation without its instructions; absent where it has a name, which says all.
    pub bare: Option<Bare>,
}

/// A conversation without its instructions, which some programs change from call to call (a clock, a count of tokens).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bare {
    /// Its fingerprint at this turn, with the question. Other requests may begin with the same words, such as the one
    /// for the conversation's title; sessions that do part as soon as their questions differ.
    pub now: Fingerprint,
    /// The same at [`Conversation::before`]. A batch of requests that all begin with an example follows none that was
    /// ever asked.
    pub follows: Option<Fingerprint>,
    /// That of its beginning, whatever was asked since, by which it is found where nothing surer tells.
    pub begun: Fingerprint,
    /// That of the tool loop.
    pub tool_loop: Option<Fingerprint>,
}

impl Conversation {
    /// The conversation of a dry run, as far as its record tells.
    pub fn of_record(facts: &RequestFacts) -> Option<Self> {
        let (turn, named) = (facts.turn, facts.conversation_named);
        Some(Self {
            print: facts.conversation?,
            named,
            begins_here: turn == 1 || (named && !facts.begun_elsewhere),
            turn,
            // A record without a question is of a step in a tool loop.
            before: turn_before(turn, facts.question.is_none()),
            tool_loop: None,
            bare: None,
        })
    }

    /// The conversation's place in [0, 1), for a rollout by shares; the same for all its turns while its instructions are.
    pub fn place(&self) -> f64 {
        // The upper 53 bits, as many as a float tells apart.
        (self.print.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The fingerprints that later requests of the conversation may be found by; `begun_here` = its first turn was asked
    /// here. Else that may be an example, with which every request of a batch begins, and the beginning tells the
    /// conversation from others only together with the number of the turn.
    pub fn prints(&self, begun_here: bool) -> impl Iterator<Item = Fingerprint> + use<> {
        let at = |begun: Fingerprint| at_turn(begun, self.turn);
        let print = if begun_here { self.print } else { at(self.print) };
        let bare = self.bare.map(|bare| [bare.tool_loop, Some(bare.now), Some(at(bare.begun))]);
        [self.tool_loop, Some(print)].into_iter().chain(bare.into_iter().flatten()).flatten()
    }

    /// The fingerprints by which it is surely the same conversation as an earlier one, the surest first.
    pub fn known_as(&self) -> impl Iterator<Item = Fingerprint> + use<> {
        let print = (self.named || self.before.is_some()).then_some(self.print);
        // Some clients change a question once it is answered: they put documents or reminders beside the last one only.
        let at = |begun: Fingerprint| self.before.map(|turn| at_turn(begun, turn));
        let bare = self.bare.map(|bare| [bare.tool_loop, bare.follows, at(bare.begun)]);
        let [bare_loop, follows, beginning] = bare.unwrap_or_default();
        [self.tool_loop, bare_loop, follows, print, at(self.print), beginning].into_iter().flatten()
    }
}

/// The turn that is surely answered.
fn turn_before(turn: u32, in_loop: bool) -> Option<u32> {
    if in_loop { Some(turn) } else { (turn > 1).then(|| turn - 1) }
}

/// The fingerprint of a conversation whose beginning has this `print`, at one of its turns.
fn at_turn(print: Fingerprint, turn: u32) -> Fingerprint {
    Fingerprint(print.0.wrapping_add(u64::from(turn)))
}

/// The conversation of a request: by its name, else by its first turns, the API token and the user.
pub fn conversation(request: &ChatRequest, token: Option<&Token>, salt: &Salt) -> Conversation {
    let owner = token.map_or("", |token| token.id.as_str());
    let user = request.user.as_deref().unwrap_or_default();
    let questions = questions(&request.messages);
    let turn = u32::try_from(questions.len()).unwrap_or(u32::MAX).max(1);
    let before = turn_before(turn, request.goes_on_with_tools());
    let first_call = if request.is_in_tool_loop() { request.first_call_of_loop() } else { None };
    let loop_of = |print: Fingerprint| first_call.map(|id| salt.fingerprint(["loop", &print.to_string(), id]));
    // An empty name, as a client's template may leave it, is none.
    if let Some(name) = request.routing.conversation.as_deref().filter(|name| !name.is_empty()) {
        let print = salt.fingerprint(["named", owner, name]);
        let tool_loop = loop_of(print);
        return Conversation { print, named: true, begins_here: true, turn, before, tool_loop, bare: None };
    }
    let begun = beginning(&request.messages);
    let of = |turn: &Message| once(turn.plain_text()).chain(marks(turn)).collect();
    let texts: Vec<Vec<String>> = begun.iter().map(of).collect();
    let said = || begun.iter().zip(&texts).filter(|(turn, _)| !turn.role.is_instruction());
    let asked = || said().flat_map(|(_, texts)| texts).map(String::as_str);
    let all = texts.iter().flatten().map(String::as_str);
    let print = salt.fingerprint(["begun", owner, user].into_iter().chain(all));
    // Beside an agent's conversation its program asks for a title, say, without tools.
    let tools = if request.needs().tools { "tools" } else { "" };
    let bare = salt.fingerprint(["bare", owner, user, tools].into_iter().chain(asked()));
    // Without words they would all be one.
    let bare = if asked().any(|text| !text.is_empty()) { bare } else { print };
    // Of earlier questions the length tells sessions apart, too, and costs less than all that was ever said.
    let said: Vec<String> = questions.iter().map(|it| it.question_text()).collect();
    let length = |(text, turn): (&String, &&Message)| once(text.len().to_string()).chain(marks(turn)).collect();
    let lengths: Vec<Vec<String>> = said.iter().zip(&questions).map(length).collect();
    let at = |turn: u32| {
        let upto = said.len().min(turn as usize);
        let question = said[..upto].last().map_or("", String::as_str);
        salt.fingerprint(["at", &bare.to_string(), &turn.to_string(), &lengths[..upto].concat().join(" "), question])
    };
    let (named, begins_here, tool_loop) = (!user.is_empty(), turn == 1, loop_of(print));
    let bare = Bare { now: at(turn), follows: before.map(at), begun: bare, tool_loop: loop_of(bare) };
    Conversation { print, named, begins_here, turn, before, tool_loop, bare: Some(bare) }
}

/// The beginning of a conversation: up to the last user turn before the first answer. The first user turn would not do:
/// some programs (Codex: the rules of the project) begin each conversation with the same turns before the question.
fn beginning(messages: &[Message]) -> &[Message] {
    let asks = |message: &Message| message.role == Role::User;
    let first = messages.iter().position(asks).unwrap_or(0);
    let answer = messages.iter().skip(first).position(|message| message.role == Role::Assistant);
    let unanswered = answer.map_or(messages, |after| &messages[..first + after]);
    let last = unanswered.iter().rposition(asks).unwrap_or(0);
    messages.get(..=last).unwrap_or_default()
}

/// The questions; of several user turns in a row, without an answer between them, the last.
fn questions(messages: &[Message]) -> Vec<&Message> {
    let (mut questions, mut answered) = (Vec::new(), true);
    for message in messages {
        if message.is_question() {
            if !answered {
                questions.pop();
            }
            questions.push(message);
            answered = false;
        } else if message.role == Role::Assistant {
            answered = true;
        }
    }
    questions
}

/// The fingerprint of a question.
pub fn question_print(question: &Message, salt: &Salt) -> Fingerprint {
    let (text, marks) = (question.question_text(), marks(question));
    salt.fingerprint(once(text.as_str()).chain(marks.iter().map(String::as_str)))
}

/// What tells a turn's pictures and documents from others, however alike its words are; nothing where it has none. Where
/// prompt-cache markers stand changes from turn to turn.
fn marks(turn: &Message) -> Vec<String> {
    fn look(value: &Value, marks: &mut Vec<String>) {
        match value {
            Value::String(text) => marks.push(mark(text)),
            Value::Array(items) => items.iter().for_each(|item| look(item, marks)),
            Value::Object(fields) => {
                let fields = fields.iter().filter(|(name, _)| *name != "cache_control");
                fields.for_each(|(_, field)| look(field, marks));
            }
            _ => {}
        }
    }
    let mut marks = Vec::new();
    for part in &turn.parts {
        match part {
            Part::Image { source: ImageSource::Url(text) | ImageSource::Base64 { data: text, .. }, .. } => {
                marks.push(mark(text));
            }
            Part::Foreign { value, .. } => look(value, &mut marks),
            _ => {}
        }
    }
    marks
}

/// A text that may have megabytes by its length, its middle and its end, a short one whole. Files of one kind begin
/// alike, and many end so (white, silence).
fn mark(text: &str) -> String {
    const PIECE: usize = 256;
    let bytes = text.as_bytes();
    if bytes.len() <= 2 * PIECE {
        return text.to_owned();
    }
    let piece = |from: usize| String::from_utf8_lossy(&bytes[from..from + PIECE]);
    [&bytes.len().to_string(), &*piece(bytes.len() / 2), &*piece(bytes.len() - PIECE)].join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(turns: &[(Role, &str)]) -> ChatRequest {
        let messages = turns.iter().map(|(role, text)| Message::text(*role, *text)).collect();
        ChatRequest { messages, ..ChatRequest::default() }
    }

    /// Adds a call of this id, and its result.
    fn step_of_loop(request: &mut ChatRequest, id: &str) {
        let (id, name, arguments) = (id.to_owned(), "time".into(), "{}".into());
        let result =
            Part::ToolResult { call_id: id.clone(), content: Vec::new(), is_error: false, cache_control: None };
        let call = Part::ToolCall { id, name, arguments };
        request.messages.push(Message { role: Role::Assistant, parts: vec![call], name: None });
        request.messages.push(Message { role: Role::User, parts: vec![result], name: None });
    }

    /// Whether `later` is found by what was noted of `earlier`.
    fn is_found(later: &Conversation, earlier: &Conversation) -> bool {
        let noted: Vec<Fingerprint> = earlier.prints(earlier.begins_here).collect();
        later.known_as().any(|print| noted.contains(&print))
    }

    #[test]
    fn a_conversation_whose_instructions_change_is_known_again_but_what_begins_with_its_words_is_not() {
        let salt = Salt::new([7; 16]);
        let tool: crate::protocol::Tool =
            serde_json::from_value(serde_json::json!({ "name": "time", "parameters": {} })).unwrap();
        let at = |instructions: &str, more: &[(Role, &str)], call: Option<&str>| {
            let mut request = request(&[&[(Role::System, instructions), (Role::User, "sort this")], more].concat());
            request.tools.push(tool.clone());
            if let Some(id) = call {
                step_of_loop(&mut request, id);
            }
            request
        };
        let known = |request: &ChatRequest| conversation(request, None, &salt);
        let asked = known(&at("It is 12:00.", &[], None));
        let (step, next) = (at("It is 12:01.", &[], Some("a")), at("It is 12:02.", &[], Some("a")));
        assert!(is_found(&known(&step), &asked), "the first step");
        let (step, next, other) = (known(&step), known(&next), known(&at("It is 12:01.", &[], Some("b"))));
        let bare_loop = |conversation: &Conversation| conversation.bare.unwrap().tool_loop;
        let found_by = next.known_as().find(|print| step.prints(true).any(|noted| noted == *print));
        assert_eq!(found_by, bare_loop(&step));
        assert_ne!(bare_loop(&other), bare_loop(&step), "a loop that began with the same words");
        let later = known(&at("It is 12:03.", &[(Role::Assistant, "done"), (Role::User, "thanks")], None));
        assert!(is_found(&later, &asked));
        let example = [(Role::Assistant, "a label"), (Role::User, "the next")];
        let batch = |item: &str| known(&at(item, &example, None));
        assert!(!is_found(&batch("Item 2"), &batch("Item 1")), "an example is no turn that was asked");
        assert!(!is_found(&batch("Item 1"), &batch("Item 1")));
        let mut title = at("Find a title.", &[], None);
        title.tools.clear();
        assert!(!is_found(&later, &known(&title)));
        // One person's questions may begin with the same words.
        title.user = Some("jane".into());
        let mut other = title.clone();
        other.messages[0] = Message::text(Role::System, "Translate.");
        assert!(!is_found(&known(&other), &known(&title)) && is_found(&known(&title), &known(&title)));
    }

    #[test]
    fn a_conversation_is_known_again_by_how_it_began_or_by_its_name() {
        let salt = Salt::new([7; 16]);
        let print = |request: &ChatRequest| conversation(request, None, &salt);
        let first = request(&[(Role::System, "be brief"), (Role::User, "hello")]);
        let later = request(&[
            (Role::System, "be brief"),
            (Role::User, "hello"),
            (Role::Assistant, "hi"),
            (Role::User, "and now?"),
        ]);
        assert_eq!(print(&first).print, print(&later).print);
        assert!(print(&first).known_as().next().is_none() && is_found(&print(&later), &print(&first)));
        assert!((0.0..1.0).contains(&print(&first).place()));
        let other = request(&[(Role::System, "be long"), (Role::User, "hello")]);
        assert_ne!(print(&first).print, print(&other).print);
        let mut named = request(&[(Role::User, "x")]);
        named.routing.conversation = Some("c1".into());
        let mut same = request(&[(Role::User, "y")]);
        same.routing.conversation = Some("c1".into());
        assert_eq!(print(&named), print(&same));
        assert!(print(&named).named && print(&named).prints(true).eq([print(&named).print]));
        let mut empty = request(&[(Role::User, "x")]);
        empty.routing.conversation = Some(String::new());
        assert!(!print(&empty).named && print(&empty) == print(&request(&[(Role::User, "x")])));
    }

    #[test]
    fn turns_that_a_program_puts_before_the_question_are_not_the_conversation() {
        let salt = Salt::new([7; 16]);
        let known = |request: &ChatRequest| conversation(request, None, &salt);
        let begun =
            |question| [(Role::System, "be brief"), (Role::User, "the project's rules"), (Role::User, question)];
        let (first, other) = (known(&request(&begun("sort this"))), known(&request(&begun("a haiku"))));
        assert_ne!(first.print, other.print);
        assert_eq!(first.known_as().next(), None);
        let answered = [(Role::System, "note"), (Role::Assistant, "done"), (Role::User, "thanks")];
        let later = known(&request(&[&begun("sort this")[..], &answered].concat()));
        assert_eq!((later.print, later.turn), (first.print, 2));
    }

    #[test]
    fn what_begins_with_the_same_turns_parts_with_its_questions() {
        let salt = Salt::new([7; 16]);
        let of = |instructions: &str, questions: &[&str]| {
            let mut turns = vec![(Role::System, instructions), (Role::User, "Begin.")];
            for question in questions {
                turns.extend([(Role::Assistant, "ready"), (Role::User, question)]);
            }
            request(&turns)
        };
        let known = |instructions: &str, questions: &[&str]| conversation(&of(instructions, questions), None, &salt);
        let garden = known("12:00", &["my garden", "go on"]);
        let own = |later: &Conversation, earlier: [&Conversation; 2]| {
            let of = |print| earlier.iter().position(|it| it.prints(it.begins_here).any(|noted| noted == print));
            later.known_as().find_map(of)
        };
        let [tax, plants] = [known("12:01", &["tax law"]), known("12:01", &["my garden"])];
        assert_eq!(own(&garden, [&tax, &plants]), Some(1));
        let [later, tax] = [known("12:02", &["my garden", "go on", "more"]), known("12:01", &["tax law", "go on"])];
        assert_eq!(own(&later, [&tax, &garden]), Some(1));
        // Documents beside the last question only, and a clock.
        assert!(is_found(&garden, &known("12:01", &["my garden, and all that is known of it"])));
        // Neither is known by their beginning, which was never asked here; but by it, where nothing else tells.
        let known = |questions: &[&str]| known("be brief", questions);
        assert!(!is_found(&known(&["a"]), &known(&["b"])) && !is_found(&known(&["a", "b"]), &known(&["c", "d"])));
        assert!(is_found(&known(&["my garden", "go on"]), &known(&["my garden, and all that is known of it"])));
        // A turn that was broken off and is kept.
        assert!(is_found(&known(&["broken off", "my garden"]), &known(&[])));
        // A person's batch, unlike one person's question, which is asked again where it is the first.
        let by = |questions: &[&str]| {
            conversation(&ChatRequest { user: Some("jane".into()), ..of("be brief", questions) }, None, &salt)
        };
        assert!(is_found(&by(&[]), &by(&[])) && !is_found(&by(&["a"]), &by(&["a"])));
    }

    #[test]
    fn a_record_tells_of_a_conversation_what_its_request_told_but_for_what_it_does_not_hold() {
        let salt = Salt::new([7; 16]);
        let first = [(Role::System, "be brief"), (Role::User, "hello")];
        let second = [&first[..], &[(Role::Assistant, "hi"), (Role::User, "and now?")]].concat();
        let mut requests = [request(&first), request(&second), request(&second)];
        step_of_loop(&mut requests[2], "a");
        for (name, user) in [(None, None), (None, Some("jane")), (Some("c1"), None)] {
            for request in &mut requests {
                (request.routing.conversation, request.user) = (name.map(str::to_owned), user.map(str::to_owned));
                let asked = conversation(request, None, &salt);
                let facts = RequestFacts {
                    conversation: Some(asked.print),
                    conversation_named: asked.named,
                    turn: asked.turn,
                    question: request.question().filter(|_| !request.goes_on_with_tools()).map(|_| Fingerprint(1)),
                    begun_elsewhere: !asked.begins_here && name.is_none(),
                    ..RequestFacts::default()
                };
                let recorded = Conversation::of_record(&facts).unwrap();
                assert_eq!(recorded, Conversation { tool_loop: None, bare: None, ..asked });
            }
        }
        // A person's later turns are of what began here where it is remembered.
        let facts = RequestFacts {
            conversation: Some(Fingerprint(1)),
            conversation_named: true,
            turn: 2,
            ..Default::default()
        };
        assert!(Conversation::of_record(&facts).unwrap().begins_here);
    }

    #[test]
    fn pictures_and_documents_are_part_of_a_question_and_of_how_a_conversation_began() {
        let salt = Salt::new([7; 16]);
        let picture = |pixels: &str| {
            let data = format!("iVBORw0KGgo{pixels}AAAAAElFTkSuQmCC");
            let source = ImageSource::Base64 { media_type: "image/png".into(), data };
            Part::Image { source, detail: None, cache_control: None, breakpoint: None }
        };
        let document = |pages: &str, cached: bool| {
            let source = serde_json::json!({ "type": "base64", "media_type": "application/pdf", "data": pages });
            let mut value = serde_json::json!({ "type": "document", "source": source });
            if cached {
                value["cache_control"] = serde_json::json!({ "type": "ephemeral" });
            }
            Part::Foreign { kind: "document".into(), value }
        };
        let url = |url: &str| {
            let source = ImageSource::Url(url.into());
            Part::Image { source, detail: None, cache_control: None, breakpoint: None }
        };
        let asked = |turns: &[(&str, Option<&Part>)]| {
            let mut request = request(&[(Role::System, "You help.")]);
            for (text, part) in turns {
                if request.messages.len() > 1 {
                    request.messages.push(Message::text(Role::Assistant, "a cat"));
                }
                let parts = once(Part::text(*text)).chain(part.cloned()).collect();
                request.messages.push(Message { role: Role::User, parts, name: None });
            }
            conversation(&request, None, &salt)
        };
        let long = |pixel: &str| [pixel, &"o".repeat(9000), pixel].concat();
        let pairs = [
            [picture("a"), picture("b")],
            [picture(&long("a")), picture(&long("b"))],
            [picture(&["o", &long("a")].concat()), picture(&[&long("a"), "o"].concat())],
            [document("a", false), document("b", false)],
            [url("http://a/b.png"), url("http://a/c.png")],
        ];
        for [a, b] in &pairs {
            let first = |part| asked(&[("What is this?", Some(part))]);
            let second = |part| asked(&[("What is this?", Some(part)), ("go on", None)]);
            assert!(is_found(&second(a), &first(a)) && !is_found(&second(a), &first(b)), "{a:?}");
            assert_ne!((first(a).print, first(a).bare), (first(b).print, first(b).bare), "{a:?}");
            // What began elsewhere.
            let third = |part| asked(&[("Hello", None), ("What is this?", Some(part)), ("go on", None)]);
            let more =
                |part| asked(&[("Hello", None), ("What is this?", Some(part)), ("go on", None), ("more", None)]);
            assert!(
                is_found(&more(a), &third(a)) && !more(a).known_as().any(|print| print == third(b).bare.unwrap().now),
                "{a:?}"
            );
        }
        let cached = |is| asked(&[("Sum up.", Some(&document("a", is)))]);
        assert_eq!(cached(true), cached(false));
        // Those without keep the fingerprints that the log has.
        let plain = asked(&[("What is this?", None)]);
        assert_eq!(plain.print, salt.fingerprint(["begun", "", "", "You help.", "What is this?"]));
        let bare = salt.fingerprint(["bare", "", "", "", "What is this?"]);
        assert_eq!(plain.bare.unwrap().now, salt.fingerprint(["at", &bare.to_string(), "1", "13", "What is this?"]));
        let print = |part: Option<&Part>| {
            let parts = once(Part::text("What is this?")).chain(part.cloned()).collect();
            question_print(&Message { role: Role::User, parts, name: None }, &salt)
        };
        assert_eq!(print(None), salt.fingerprint(["What is this?"]));
        assert!(pairs.iter().all(|[a, b]| print(Some(a)) == print(Some(a)) && print(Some(a)) != print(Some(b))));
    }

    /// As Claude Code sends what its user types while a tool runs.
    #[test]
    fn what_is_said_beside_results_is_heard_in_the_midst_of_the_loop() {
        let salt = Salt::new([7; 16]);
        let of = |request: &ChatRequest| conversation(request, None, &salt);
        let beside = |request: &mut ChatRequest, words: &str| {
            request.messages.last_mut().unwrap().parts.push(Part::text(words));
        };
        let mut asked = request(&[(Role::User, "hello")]);
        step_of_loop(&mut asked, "t1");
        beside(&mut asked, "by the way");
        assert!(asked.is_in_tool_loop() && !asked.goes_on_with_tools());
        let first = of(&asked);
        assert_eq!((first.turn, first.before), (2, Some(1)));
        asked.messages.extend([Message::text(Role::Assistant, "so"), Message::text(Role::User, "and now?")]);
        step_of_loop(&mut asked, "t2");
        let second = of(&asked);
        step_of_loop(&mut asked, "t3");
        beside(&mut asked, "in metres");
        let known = of(&asked)
            .known_as()
            .find(|print| [&first, &second].iter().any(|it| it.prints(true).any(|noted| noted == *print)));
        assert!(second.prints(true).any(|noted| Some(noted) == known), "not where the first loop went");
        // Of a conversation whose beginning was not asked here.
        let mut late = request(&[(Role::User, "a"), (Role::Assistant, "b"), (Role::User, "c")]);
        step_of_loop(&mut late, "t1");
        let begun = of(&late);
        step_of_loop(&mut late, "t2");
        beside(&mut late, "d");
        assert!(is_found(&of(&late), &begun));
    }

    #[test]
    fn a_tool_loop_is_known_from_its_first_step_on() {
        let salt = Salt::new([7; 16]);
        let at_work = |calls: &[&str]| {
            let mut request = request(&[(Role::User, "what time is it?")]);
            for id in calls {
                step_of_loop(&mut request, id);
            }
            conversation(&request, None, &salt)
        };
        let (asked, first, second, other) = (at_work(&[]), at_work(&["a"]), at_work(&["a", "b"]), at_work(&["c"]));
        assert!(asked.known_as().next().is_none() && is_found(&first, &asked) && is_found(&second, &asked));
        assert_eq!(first.known_as().next(), second.known_as().next());
        assert_ne!(first.known_as().next(), other.known_as().next(), "two loops that began with the same words");
    }
}
