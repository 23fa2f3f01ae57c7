// Package configs embeds the commented default configuration.
package configs

import _ "embed"

// Default is anling.yml: every setting at its default, with a comment.
//
//go:embed anling.yml
var Default []byte
