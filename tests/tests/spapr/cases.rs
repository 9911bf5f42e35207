//! What the page of guests says, one by one.
