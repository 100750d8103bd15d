package source

import (
	"strings"
	"testing"
)

func TestParseSelector(t *testing.T) {
	for _, tt := range []struct{ text, want, err string }{
		{"app=web", "app=web", ""},
		{" app == web ,  tier in (b, a) ", "app=web,tier in (a,b)", ""},
		{"tier in (a),app=web", "app=web,tier in (a)", ""},
		{"!old,new", "new,!old", ""},
		{"app!=web", "app!=web", ""},
		{"", "", "it has no requirement: want a selector like"},
		{"  ", "", "want a selector like"},
		{"a=b=c", "", "want a selector like"},
		{"a in", "", "want a selector like"},
		{"a in (b", "", "want a selector like"},
		{"-=x", "", "want a selector like"},
	} {
		got, err := ParseSelector(tt.text)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("ParseSelector(%q) = %q, %v; want %q, %q", tt.text, got, err, tt.want, tt.err)
			continue
		}
		if err == nil {
			if again, err := ParseSelector(got); again != got || err != nil {
				t.Errorf("ParseSelector(%q) = %q, %v; want the same again", got, again, err)
			}
		}
	}
}
