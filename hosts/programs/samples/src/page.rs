//! The frame of an HTML page.

/// A page with this title and body.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>\n\
         body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #222 }}\n\
         table {{ border-collapse: collapse; margin: 1rem 0 }} td, th {{ text-align: left; padding: .3rem 1rem .3rem 0 }}\n\
         th {{ font-weight: 600 }} td {{ font-family: ui-monospace, monospace }} button {{ font: inherit; padding: .4rem 1rem }}\n\
         </style>\n<h1>{title}</h1>\n{body}\n</html>\n"
    )
}

/// A table of names and values.
pub fn table<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: String = rows.into_iter().map(|(name, value)| format!("<tr><th>{}<td>{}\n", escaped(name), escaped(&value))).collect();
    format!("<table>\n{rows}</table>\n")
}

/// A text in which nothing is markup.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_no_markup() {
        let shown = table([("a<b", "\"&\"".to_owned())]);
        assert_eq!(shown, "<table>\n<tr><th>a&lt;b<td>&quot;&amp;&quot;\n</table>\n");
        assert!(page("Title", &shown).contains("<h1>Title</h1>\n<table>"));
    }
}
