//! Asking, and hearing what is not so.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Where this thread has panicked, while it makes an attempt.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What a clause says where it is not so.
pub(super) fn attempt(ask: impl FnOnce()) -> Result<(), String> {
    listen();
    PLACE.set(Some(String::new()));
    let answer = panic::catch_unwind(AssertUnwindSafe(ask));
    let place = PLACE.take().unwrap_or_default();
    answer.map_err(|payload| format!("{place}: {}", message(&*payload)))
}

/// From now on a panic of an attempt is not printed: its place is kept.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_attempt = PLACE.with_borrow_mut(|place| match place {
                Some(place) => {
                    *place = info.location().map(ToString::to_string).unwrap_or_default();
                    true
                }
                None => false,
            });
            if !is_attempt {
                usual(info);
            }
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic")
}
