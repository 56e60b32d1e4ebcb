package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	"github.com/transparency-dev/formats/log"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

const (
	algorithmEd25519     = 1
	algorithmCosignature = 4
	algorithmMLDSA44     = 6
	origin               = "keyfold/8b1f2e0d4c3b2a190807060504030201f0e0d0c0b0a090807060504030201000/events/3"
)

// signed is a note, and all who signed it: each vkey with the time of its signature (0: it has none).
type signed struct {
	What     string           `json:"what"`
	Note     string           `json:"note"`
	SignedAt map[string]int64 `json:"signed_at"`
}

// signer signs notes; others verify them by the vkey.
type signer struct {
	note.Signer
	vkey  string
	timed bool
}

func seedOf(name string) []byte {
	seed := sha256.Sum256([]byte("keyfold transparency vectors: " + name))
	return seed[:]
}

// keyText returns a vkey or, with a prefix, a private key in the form that signers are made of.
func keyText(prefix, name string, algorithm byte, public, material []byte) string {
	sum := sha256.Sum256(append([]byte(name+"\n"), append([]byte{algorithm}, public...)...))
	id := binary.BigEndian.Uint32(sum[:])
	return fmt.Sprintf("%s%s+%08x+%s", prefix, name, id,
		base64.StdEncoding.EncodeToString(append([]byte{algorithm}, material...)))
}

func edPublic(name string) []byte {
	return ed25519.NewKeyFromSeed(seedOf(name)).Public().(ed25519.PublicKey)
}

// plain signs with type 0x01 as sumdb/note does.
func plain(name string) signer {
	private := keyText("PRIVATE+KEY+", name, algorithmEd25519, edPublic(name), seedOf(name))
	return signer{must(note.NewSigner(private)), must(note.NewEd25519VerifierKey(name, edPublic(name))), false}
}

// cosigner signs with type 0x04 as torchwood does.
func cosigner(name string) signer {
	made := must(torchwood.NewCosignatureSigner(name, ed25519.NewKeyFromSeed(seedOf(name))))
	return signer{made, made.Verifier().String(), true}
}

// otherCosigner signs with type 0x04 as transparency-dev/formats does.
func otherCosigner(name string) signer {
	private := keyText("PRIVATE+KEY+", name, algorithmCosignature, edPublic(name), seedOf(name))
	vkey := must(formats.VKeyToCosignatureV1(must(note.NewEd25519VerifierKey(name, edPublic(name)))))
	return signer{must(formats.NewSignerForCosignatureV1(private)), vkey, true}
}

// lattice signs with type 0x06 as transparency-dev/formats does.
func lattice(name string) signer {
	public := must(mldsa.NewPrivateKey(mldsa.MLDSA44(), seedOf(name))).PublicKey().Bytes()
	private := keyText("PRIVATE+KEY+", name, algorithmMLDSA44, public, seedOf(name))
	return signer{
		must(formats.NewSignerForCosignatureV1(private)), keyText("", name, algorithmMLDSA44, public, public), true,
	}
}

func sign(what, text string, signers ...signer) signed {
	all := []note.Signer{}
	for _, each := range signers {
		all = append(all, each)
	}
	made := signed{what, string(must(note.Sign(&note.Note{Text: text}, all...))), map[string]int64{}}
	for _, each := range signers {
		made.SignedAt[each.vkey] = 0
	}
	opened := must(openBy(made.Note, made.SignedAt))
	for at, each := range signers {
		if each.timed {
			made.SignedAt[each.vkey] = must(torchwood.CosignatureTimestamp(opened.Sigs[at]))
		}
	}
	return made
}

func checkpointText(entries *tree, size uint64) string {
	root := entries.root(size)
	return string(log.Checkpoint{Origin: origin, Size: size, Hash: root[:]}.Marshal())
}

func noteCases() document {
	empty := "an empty line\n\nand another\n\nbelong to the text — with — dashes\n"
	entries := newTree(entriesOf(1000))
	owner, lattices := plain(origin), lattice(origin)
	cases := []signed{
		sign("a note with empty lines, signed twice; sumdb/note", empty, plain("example.com/a"), plain("Enoch/Ω")),
		sign("a checkpoint, 0x01; sumdb/note", checkpointText(entries, 1), owner),
		sign("a checkpoint, 0x06; formats", checkpointText(entries, 256), lattices),
		sign("a checkpoint as Keyfold's: 0x01 and 0x06", checkpointText(entries, 257), owner, lattices),
		sign("cosigned by three: 0x04 by torchwood, 0x04 and 0x06 by formats", checkpointText(entries, 1000), owner,
			lattices, cosigner("witness.example/torchwood"), otherCosigner("witness.example/formats"),
			lattice("witness.example/lattice")),
		sign("the tree without leaves", string(log.Checkpoint{Origin: origin, Hash: emptyRoot()}.Marshal()), owner, lattices),
	}
	return document{What: "signed notes and checkpoints, and all keys that signed, with the time (0: none)", Cases: cases}
}

func emptyRoot() []byte {
	root := sha256.Sum256(nil)
	return root[:]
}

// verifier returns who verifies a vkey's signatures, by its type.
func verifier(vkey string) (note.Verifier, error) {
	if made, err := note.NewVerifier(vkey); err == nil {
		return made, nil
	}
	if made, err := torchwood.NewCosignatureVerifier(vkey); err == nil {
		return made, nil
	}
	return formats.NewMLDSAVerifier(vkey)
}

// openBy opens a note that all of these keys, and nobody else, signed.
func openBy(document string, keys map[string]int64) (*note.Note, error) {
	list := []note.Verifier{}
	for vkey := range keys {
		made, err := verifier(vkey)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", vkey, err)
		}
		list = append(list, made)
	}
	opened, err := note.Open([]byte(document), note.VerifierList(list...))
	if err != nil {
		return nil, err
	}
	if len(opened.Sigs) != len(keys) || len(opened.UnverifiedSigs) != 0 {
		return nil, errors.New("not all signed, or others did")
	}
	return opened, nil
}

// verifyCheckpoints opens every note in Keyfold's checkpoints.json by all its keys, and looks at origin, size, root
// and times.
func verifyCheckpoints(data []byte) (int, error) {
	var ours struct {
		Cases []struct {
			Origin, Note string
			Size         uint64
			RootHex      string           `json:"root_hex"`
			SignedAt     map[string]int64 `json:"signed_at"`
		}
	}
	if err := json.Unmarshal(data, &ours); err != nil {
		return 0, err
	}
	count := 0
	for _, each := range ours.Cases {
		opened, err := openBy(each.Note, each.SignedAt)
		if err != nil {
			return 0, err
		}
		var parsed log.Checkpoint
		rest, err := parsed.Unmarshal([]byte(opened.Text))
		if err != nil || len(rest) != 0 {
			return 0, fmt.Errorf("no checkpoint: %w", err)
		}
		if other, err := torchwood.ParseCheckpoint(opened.Text); err != nil || other.String() != opened.Text {
			return 0, fmt.Errorf("no checkpoint to torchwood: %w", err)
		}
		if parsed.Origin != each.Origin || parsed.Size != each.Size || fmt.Sprintf("%x", parsed.Hash) != each.RootHex {
			return 0, errors.New("another checkpoint")
		}
		if err := checkTimes(opened, each.SignedAt); err != nil {
			return 0, err
		}
		count += len(opened.Sigs)
	}
	return count, nil
}

func checkTimes(opened *note.Note, keys map[string]int64) error {
	for vkey, at := range keys {
		made := must(verifier(vkey))
		for _, line := range opened.Sigs {
			if at != 0 && line.Name == made.Name() && line.Hash == made.KeyHash() {
				if found, err := torchwood.CosignatureTimestamp(line); err != nil || found != at {
					return fmt.Errorf("another time: %w", err)
				}
			}
		}
	}
	return nil
}
