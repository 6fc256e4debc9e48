# CHANGELOG.md as a Debian changelog. -v version=0.1.0-1 -v date='Thu, 01 Jan 2026 00:00:00 +0000' -v maintainer='Name <address>'
#
# The first entry is the version that is built: all down to the heading of the second version. Older ones need a date.
function entry(of, on) {
    if (body != "") printf "jumpstarter-router (%s) unstable; urgency=medium\n\n%s\n -- %s  %s\n\n", of, body, maintainer, on
    body = ""
}
function item() {
    if (text == "") return
    # Links keep their words, code its name.
    while (match(text, /\[[^]]*\]\([^)]*\)/)) {
        link = substr(text, RSTART, RLENGTH)
        words = link; sub(/^\[/, "", words); sub(/\].*/, "", words)
        text = substr(text, 1, RSTART - 1) words substr(text, RSTART + RLENGTH)
    }
    gsub(/`/, "", text)
    line = "  * " section ": "
    count = split(text, word, " ")
    for (i = 1; i <= count; i++) {
        if (length(line) + length(word[i]) > 78) { body = body line "\n"; line = "    " }
        line = line (line ~ / $/ ? "" : " ") word[i]
    }
    body = body line "\n"
    text = ""
}
/^## \[Unreleased\]/ { next }
/^## \[/ {
    item()
    number = $2; gsub(/[][]/, "", number)
    if (seen++) { entry(of, on); of = number "-1"; on = $NF }
    else { of = version; on = date }
    next
}
/^### / { item(); section = $2; next }
/^- / { item(); text = substr($0, 3); next }
/^  / && text != "" { text = text " " $0; next }
{ item() }
END { item(); entry(of, on) }
