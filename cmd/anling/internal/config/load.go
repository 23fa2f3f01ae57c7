package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// EnvPrefix begins every environment variable that overrides a setting:
// http.listen is ANLING_HTTP_LISTEN.
const EnvPrefix = "ANLING_"

// ownEnv are variables with the prefix that are no settings.
var ownEnv = map[string]bool{"ANLING_DEMO_PASSWORD": true, "ANLING_PASSWORD": true, "ANLING_CONFIG": true}

// Load reads the file at path over the defaults, then the environment over both,
// and checks the result. An empty path means defaults and environment only.
// The error names file, line and key of everything that is wrong.
func Load(path string, environ []string) (Config, error) {
	c := Default()
	lines := map[string]int{}
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return Config{}, fmt.Errorf("read config: %w", err)
		}
		if lines, err = decode(text, &c); err != nil {
			return Config{}, prefix(path, err)
		}
	}
	envErr := override(&c, environ)
	if err := errors.Join(envErr, locate(path, lines, c.check())); err != nil {
		return Config{}, err
	}
	return c, nil
}

// decode reads YAML strictly and returns the line of every key.
func decode(text []byte, into *Config) (map[string]int, error) {
	lines := map[string]int{}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(root.Content) > 0 {
		walk(root.Content[0], "", lines)
	}
	if err := unknown(lines); err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil && len(root.Content) > 0 {
		return nil, explain(err, lines)
	}
	return lines, nil
}

// walk notes the line of each key as a dotted path. Items of a list are [0], [1] …
func walk(n *yaml.Node, path string, lines map[string]int) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p := join(path, n.Content[i].Value)
			lines[p] = n.Content[i].Line
			walk(n.Content[i+1], p, lines)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			p := fmt.Sprintf("%s[%d]", path, i)
			lines[p] = item.Line
			walk(item, p, lines)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

var index = regexp.MustCompile(`\[\d+\]`)

// unknown names every key that no setting has.
func unknown(lines map[string]int) error {
	known := Keys()
	var errs []error
	for _, path := range sortedByLine(lines) {
		plain := index.ReplaceAllString(path, "[]")
		if !strings.HasSuffix(plain, "[]") && !known[plain] {
			errs = append(errs, fmt.Errorf("line %d: unknown key %q", lines[path], path))
		}
	}
	return errors.Join(errs...)
}

func sortedByLine(lines map[string]int) []string {
	paths := make([]string, 0, len(lines))
	for p := range lines {
		paths = append(paths, p)
	}
	sort.Slice(paths, func(i, j int) bool {
		if lines[paths[i]] != lines[paths[j]] {
			return lines[paths[i]] < lines[paths[j]]
		}
		return paths[i] < paths[j]
	})
	return paths
}

var typeError = regexp.MustCompile(`^line (\d+): cannot unmarshal (!!\w+) (.*) into (.*)$`)

// explain turns the decoder's type errors into ones that name the key.
func explain(err error, lines map[string]int) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var errs []error
	for _, text := range te.Errors {
		m := typeError.FindStringSubmatch(text)
		if m == nil {
			errs = append(errs, errors.New(text))
			continue
		}
		key := ""
		for path, line := range lines {
			if fmt.Sprint(line) == m[1] && len(path) > len(key) {
				key = path
			}
		}
		errs = append(errs, fmt.Errorf("line %s: %s: %s is not a %s", m[1], key, strings.Trim(m[3], "`"), plainType(m[4])))
	}
	return errors.Join(errs...)
}

func plainType(t string) string {
	switch {
	case t == "time.Duration":
		return "duration such as 15s or 2m"
	case t == "bool":
		return "boolean (true or false)"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
		return "whole number"
	case strings.HasPrefix(t, "float"):
		return "number"
	case strings.HasPrefix(t, "[]"):
		return "list"
	case t == "string":
		return "text"
	}
	return "group of keys"
}

// Problem is one bad value, named by its dotted key.
type Problem struct {
	Key  string
	Text string
}

func (p Problem) Error() string { return p.Key + ": " + p.Text }

// locate adds file and line to the problems.
func locate(path string, lines map[string]int, problems []Problem) error {
	var errs []error
	for _, p := range problems {
		line, ok := lines[p.Key]
		switch {
		case ok:
			errs = append(errs, fmt.Errorf("%s: line %d: %w", path, line, p))
		default:
			errs = append(errs, fmt.Errorf("setting %w", p))
		}
	}
	return errors.Join(errs...)
}

func prefix(path string, err error) error {
	var errs []error
	for _, line := range strings.Split(err.Error(), "\n") {
		errs = append(errs, fmt.Errorf("%s: %s", path, line))
	}
	return errors.Join(errs...)
}

// Keys is the set of dotted keys of all settings; fields of list items stand
// under "list[].field".
func Keys() map[string]bool {
	keys := map[string]bool{}
	collect(reflect.TypeFor[Config](), "", keys)
	return keys
}

func collect(t reflect.Type, path string, keys map[string]bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		p := join(path, yamlName(f))
		keys[p] = true
		switch ft := f.Type; {
		case ft.Kind() == reflect.Struct:
			collect(ft, p, keys)
		case ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct:
			collect(ft.Elem(), p+"[]", keys)
		}
	}
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// override puts ANLING_… variables over the settings. A variable that names no
// setting is an error: a misspelt one must not be ignored in silence.
func override(c *Config, environ []string) error {
	vars := map[string]reflect.Value{}
	variables(reflect.ValueOf(c).Elem(), EnvPrefix[:len(EnvPrefix)-1], vars)
	var errs []error
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, EnvPrefix) || ownEnv[name] || strings.HasPrefix(name, EnvPrefix+"TEST_") {
			continue
		}
		field, ok := vars[name]
		if !ok {
			errs = append(errs, fmt.Errorf("environment: %s names no setting", name))
			continue
		}
		if err := set(field, value); err != nil {
			errs = append(errs, fmt.Errorf("environment: %s: %q is not a %s", name, value, plainType(field.Type().String())))
		}
	}
	return errors.Join(errs...)
}

func variables(v reflect.Value, path string, into map[string]reflect.Value) {
	for i := range v.NumField() {
		name := path + "_" + strings.ToUpper(strings.ReplaceAll(yamlName(v.Type().Field(i)), ".", "_"))
		if f := v.Field(i); f.Kind() == reflect.Struct {
			variables(f, name, into)
		} else {
			into[name] = f
		}
	}
}

// set reads value as YAML into the field; text needs no quotes.
func set(field reflect.Value, value string) error {
	if field.Kind() == reflect.String {
		field.SetString(value)
		return nil
	}
	fresh := reflect.New(field.Type())
	if err := yaml.Unmarshal([]byte(value), fresh.Interface()); err != nil {
		return err
	}
	field.Set(fresh.Elem())
	return nil
}
