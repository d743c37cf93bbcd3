# What the tests of commands and daemons share.  Sourced by bash; counts in ${passed} and ${failed}.
# shellcheck shell=bash

# expect CODE PATTERN COMMAND...: its exit code, and a regular expression that its output must match.
expect() {
	local code=$1 pattern=$2 out rc
	shift 2
	out=$("$@" 2>&1 </dev/null)
	rc=$?
	if [ $rc = "$code" ] && grep -qE -- "$pattern" <<<"$out"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: $*"
		echo "  exit code $rc, expected $code; output, which must match '$pattern':"
		head -10 <<<"$out" | sed 's/^/  | /'
	fi
}
