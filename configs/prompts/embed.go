// Package prompts embeds the built-in spoken prompts, made by cmd/promptbuild. A
// district replaces them by id; see docs/PROMPTS.md.
package prompts

import "embed"

// FS holds a folder per language with manifest.json and WAV files.
//
//go:embed zh-CN
var FS embed.FS
