//! The hybrid mesh's web page: which instance served it, and a button that asks the API which of its instances answers.

use std::process::ExitCode;

use samples::http::Response;
use samples::page::{page, table};
use samples::run;

const BUTTON: &str = "<p>Each reload may come from another instance, whichever client you ask.</p>
<p><button id=\"ask\">Ask the API</button></p>
<pre id=\"answer\"></pre>
<script>
document.getElementById('ask').onclick = async () => {
  const answer = document.getElementById('answer');
  try {
    const response = await fetch('/api', { cache: 'no-store' });
    answer.textContent = response.ok ? JSON.stringify(await response.json(), null, 2) : 'The API answers ' + response.status + '.';
  } catch (why) {
    answer.textContent = 'The API does not answer: ' + why;
  }
};
</script>";

fn main() -> ExitCode {
    run::service("page", |identity| {
        Box::new(move |request| match request.path.as_str() {
            "/" => {
                let rows =
                    [("Node", identity.node.clone()), ("Address", identity.address.clone()), ("Instance", identity.instance.clone())];
                Response::html(page("Hybrid mesh", &(table(rows) + BUTTON)))
            }
            path => Response::text(&format!("nothing at {path}\n")).with_status(404),
        })
    })
}
