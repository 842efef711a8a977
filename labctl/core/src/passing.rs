//! How far a copy is, as events.

use std::pin::pin;

use labctl_guest::tree::Progress;
use labctl_lab::event::{Each, Event};
use labctl_tree::Passed;
use tokio::sync::watch;

/// Smaller copies are over before anybody looks, in bytes.
const SMALL: u64 = 1 << 20;

/// Makes a copy, and reports how far it is while it goes on. `what` is what is copied, `step` what for.
pub async fn shown<F: Future>(what: &str, step: &str, each: Each<'_>, copy: impl FnOnce(Progress) -> F) -> F::Output {
    let (tell, mut told) = watch::channel(Passed::default());
    let mut copy = pin!(copy(Box::new(move |passed| {
        tell.send_replace(passed);
    })));
    let mut last = None;
    let show = |(done, total)| each(Event::Work { what: what.to_owned(), step: step.to_owned(), progress: Some((done, total)) });
    loop {
        tokio::select! {
            done = &mut copy => {
                if let Some((_, (_, total))) = last.and_then(|_| worth_showing(*told.borrow())) {
                    show((total, total));
                }
                return done;
            }
            Ok(()) = told.changed() => {
                let now = worth_showing(*told.borrow_and_update());
                if let Some((_, bytes)) = now.filter(|(step, _)| last.is_none_or(|(before, _)| before < *step)) {
                    show(bytes);
                    last = now;
                }
            }
        }
    }
}

/// The percentage (or the MiB, if the total is not known), and the bytes so far and in total; none for a small copy.
fn worth_showing(passed: Passed) -> Option<(u64, (u64, u64))> {
    let Passed { bytes, total } = passed;
    match total {
        Some(total) if total < SMALL => None,
        Some(total) => Some((bytes.min(total).saturating_mul(100) / total, (bytes.min(total), total))),
        None if bytes < SMALL => None,
        None => Some((bytes >> 20, (bytes, bytes))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    async fn events(total: Option<u64>, pieces: u64, piece: u64) -> Vec<(u64, u64)> {
        let seen = Mutex::new(Vec::new());
        let each = |event| match event {
            Event::Work { what, progress: Some(progress), .. } if what == "a:/x" => seen.lock().unwrap().push(progress),
            other => panic!("{other:?}"),
        };
        let done = shown("a:/x", "copy", &each, |mut progress| async move {
            for number in 1..=pieces {
                progress(Passed { bytes: number * piece, total });
                tokio::task::yield_now().await;
            }
            7
        });
        assert_eq!(done.await, 7);
        seen.into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_large_copy_is_shown_in_a_hundred_steps_and_a_small_one_not_at_all() {
        let total = 10_000_000;
        let seen = events(Some(total), 1000, total / 1000).await;
        assert!((2..=102).contains(&seen.len()), "{}", seen.len());
        assert!(seen.is_sorted() && seen.iter().all(|(done, of)| done <= of && *of == total));
        assert_eq!(seen.last(), Some(&(total, total)));
        assert_eq!(events(Some(1000), 10, 100).await, []);
        let piped = events(None, 9, SMALL / 2).await;
        assert_eq!(piped.last(), Some(&(9 * SMALL / 2, 9 * SMALL / 2)));
    }
}
