package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// tree keeps all hashes of perfect subtrees, once as transparency-dev/merkle makes them and once as sumdb/tlog does.
type tree struct {
	nodes  map[compact.NodeID][]byte
	hashes []tlog.Hash
	size   uint64
}

func newTree(entries [][]byte) *tree {
	made := &tree{nodes: map[compact.NodeID][]byte{}}
	factory := &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	whole := factory.NewEmptyRange(0)
	visit := func(id compact.NodeID, hash []byte) { made.nodes[id] = hash }
	reader := tlog.HashReaderFunc(made.read)
	for at, entry := range entries {
		leaf := rfc6962.DefaultHasher.HashLeaf(entry)
		visit(compact.NewNodeID(0, uint64(at)), leaf)
		if err := whole.Append(leaf, visit); err != nil {
			panic(err)
		}
		made.hashes = append(made.hashes, must(tlog.StoredHashes(int64(at), entry, reader))...)
	}
	made.size = uint64(len(entries))
	return made
}

func (t *tree) read(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, 0, len(indexes))
	for _, index := range indexes {
		found = append(found, t.hashes[index])
	}
	return found, nil
}

func (t *tree) rehash(nodes proof.Nodes) [][]byte {
	hashes := [][]byte{}
	for _, id := range nodes.IDs {
		hashes = append(hashes, t.nodes[id])
	}
	return must(nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren))
}

func (t *tree) root(size uint64) tlog.Hash {
	return must(tlog.TreeHash(int64(size), tlog.HashReaderFunc(t.read)))
}

// inclusion returns the path that both implementations make.
func (t *tree) inclusion(index, size uint64) [][]byte {
	path := t.rehash(must(proof.Inclusion(index, size)))
	same(path, must(tlog.ProveRecord(int64(size), int64(index), tlog.HashReaderFunc(t.read))))
	return path
}

// consistency returns the path that both implementations make.
func (t *tree) consistency(old, size uint64) [][]byte {
	path := t.rehash(must(proof.Consistency(old, size)))
	same(path, must(tlog.ProveTree(int64(size), int64(old), tlog.HashReaderFunc(t.read))))
	return path
}

func same(path [][]byte, other []tlog.Hash) {
	if len(path) != len(other) {
		panic("two implementations make paths of different lengths")
	}
	for at, node := range path {
		if !bytes.Equal(node, other[at][:]) {
			panic("two implementations make different paths")
		}
	}
}

type treeCase struct {
	Size        uint64              `json:"size"`
	Root        string              `json:"root"`
	Inclusion   map[string][]string `json:"inclusion"`
	Consistency map[string][]string `json:"consistency"`
}

func entriesOf(count int) [][]byte {
	entries := make([][]byte, count)
	for at := range entries {
		entries[at] = fmt.Appendf(nil, "entry %d", at)
	}
	return entries
}

func treeCases() document {
	whole := newTree(entriesOf(1000))
	cases := []treeCase{}
	for _, size := range []uint64{1, 2, 3, 4, 5, 7, 8, 9, 13, 32, 33, 255, 256, 257, 1000} {
		root := whole.root(size)
		made := treeCase{size, hex.EncodeToString(root[:]), map[string][]string{}, map[string][]string{}}
		for _, place := range []uint64{0, 1, size / 3, size / 2, size - 2, size - 1} {
			if place < size {
				made.Inclusion[fmt.Sprint(place)] = texts(whole.inclusion(place, size))
				made.Consistency[fmt.Sprint(place+1)] = texts(whole.consistency(place+1, size))
			}
		}
		cases = append(cases, made)
	}
	what := "RFC 9162 trees over the entries 'entry 0', 'entry 1', ...: roots, inclusion paths by index, consistency " +
		"paths by older size; transparency-dev/merkle and sumdb/tlog make the same"
	return document{What: what, Cases: cases}
}

func texts(path [][]byte) []string {
	made := []string{}
	for _, node := range path {
		made = append(made, hex.EncodeToString(node))
	}
	return made
}

func nodesOf(path []string) ([][]byte, []tlog.Hash, error) {
	nodes, hashes := [][]byte{}, []tlog.Hash{}
	for _, text := range path {
		node, err := hex.DecodeString(text)
		if err != nil || len(node) != tlog.HashSize {
			return nil, nil, fmt.Errorf("no hash: %s", text)
		}
		nodes, hashes = append(nodes, node), append(hashes, tlog.Hash(node))
	}
	return nodes, hashes, nil
}

// verifyTrees checks every root and every proof in Keyfold's merkle.json with both implementations.
func verifyTrees(data []byte) (int, error) {
	var ours struct {
		Inputs []string `json:"inputs_hex"`
		Cases  []struct {
			Size  uint64
			Root  string
			Paths [][]string
		}
		Consistency []struct {
			Old, New uint64
			Path     []string
		}
	}
	if err := json.Unmarshal(data, &ours); err != nil {
		return 0, err
	}
	entries := [][]byte{}
	for _, input := range ours.Inputs {
		entries = append(entries, must(hex.DecodeString(input)))
	}
	whole, count := newTree(entries), 0
	for _, each := range ours.Cases {
		root := whole.root(each.Size)
		if hex.EncodeToString(root[:]) != each.Root || uint64(len(each.Paths)) != each.Size {
			return 0, fmt.Errorf("size %d: another root, or not all paths", each.Size)
		}
		for index, path := range each.Paths {
			if err := whole.checkInclusion(uint64(index), each.Size, path); err != nil {
				return 0, fmt.Errorf("inclusion of %d in %d: %w", index, each.Size, err)
			}
			count++
		}
	}
	for _, each := range ours.Consistency {
		if err := whole.checkConsistency(each.Old, each.New, each.Path); err != nil {
			return 0, fmt.Errorf("consistency of %d with %d: %w", each.Old, each.New, err)
		}
		count++
	}
	return count, nil
}

func (t *tree) checkInclusion(index, size uint64, path []string) error {
	nodes, hashes, err := nodesOf(path)
	if err != nil {
		return err
	}
	leaf, root := t.nodes[compact.NewNodeID(0, index)], t.root(size)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf, nodes, root[:]); err != nil {
		return err
	}
	return tlog.CheckRecord(hashes, int64(size), root, int64(index), tlog.Hash(leaf))
}

func (t *tree) checkConsistency(old, size uint64, path []string) error {
	nodes, hashes, err := nodesOf(path)
	if err != nil {
		return err
	}
	before, after := t.root(old), t.root(size)
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, old, size, nodes, before[:], after[:]); err != nil {
		return err
	}
	return tlog.CheckTree(hashes, int64(size), after, int64(old), before)
}
