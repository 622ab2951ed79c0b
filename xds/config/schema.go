package config

import _ "embed" // the schema

// Schema is the JSON schema of keywheel.yaml, for editors. It must not be changed.
//
//go:embed keywheel.schema.json
var Schema []byte
