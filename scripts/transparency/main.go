// Command transparency holds Keyfold's trees, checkpoints and proofs against implementations that are not Keyfold's.
//
// usage: go run . VECTORS [--check]      (in this folder; VECTORS is tests/vectors)
//
// First it verifies Keyfold's own golden vectors (merkle.json, checkpoints.json, log_proofs.json). Then it makes
// transparency/*.json, which Keyfold's tests verify: trees and their proofs, signed notes, cosigned checkpoints and
// tlog-proofs. --check only verifies. Times and ML-DSA-44 signatures differ from run to run, the rest does not. Private
// keys are SHA-256 of sentences and protect nothing.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
)

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 || (len(os.Args) == 3 && os.Args[2] != "--check") {
		fmt.Fprintln(os.Stderr, "usage: go run . VECTORS [--check]")
		os.Exit(2)
	}
	if err := run(os.Args[1], len(os.Args) == 3); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(vectors string, checkOnly bool) error {
	verified := map[string]string{}
	for name, verify := range map[string]func([]byte) (int, error){
		"merkle.json": verifyTrees, "checkpoints.json": verifyCheckpoints, "log_proofs.json": verifyProofs,
	} {
		data, err := os.ReadFile(filepath.Join(vectors, name))
		if err != nil {
			return err
		}
		count, err := verify(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("%s: %d verified\n", name, count)
		sum := sha256.Sum256(data)
		verified[name] = hex.EncodeToString(sum[:])
	}
	if checkOnly {
		return nil
	}
	made := map[string]any{"verified.json": document{
		What: "SHA-256 of the golden vectors of Keyfold that these implementations verified", Cases: verified,
	}}
	made["trees.json"] = treeCases()
	made["notes.json"] = noteCases()
	made["proofs.json"] = proofCases()
	return write(filepath.Join(vectors, "transparency"), made)
}

type document struct {
	What      string            `json:"what"`
	Generator string            `json:"generator"`
	Go        string            `json:"go"`
	Modules   map[string]string `json:"modules"`
	Cases     any               `json:"cases"`
}

func write(folder string, made map[string]any) error {
	modules := map[string]string{}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return fmt.Errorf("no build information")
	}
	for _, module := range info.Deps {
		modules[module.Path] = module.Version
	}
	for name, value := range made {
		whole := value.(document)
		whole.Generator, whole.Go, whole.Modules = "scripts/transparency", info.GoVersion, modules
		text, err := json.MarshalIndent(whole, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
