#!/bin/sh
# The main job on the sample data: train, forget, retrain, compare, and what one user is recommended before and after.
# Leaves nothing behind.
set -eu

samples=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cp "$samples/ratings.parquet" "$samples/items.csv" "$samples/deletions.csv" .

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

say() {
    printf '\n# %s\n' "$@"
}

say 'A model of 107,660 ratings.'
run forget train ratings.parquet
run forget info model.npz

say 'User 42 loves romances and musicals, but a flatmate watched horror on her account.'
run forget recommend model.npz --user 42 -n 10 --item-names items.csv

say 'She takes those 48 ratings back, user 1317 closes the account, title 4 is pulled.'
run cp model.npz original.npz
run forget forget model.npz --records deletions.csv

say 'Her recommendations now:'
run forget recommend model.npz --user 42 -n 10 --item-names items.csv

say 'What models are that never saw the records, and how far the one that forgot is from them:'
for seed in 1 2 3; do
    run forget retrain original.npz --records deletions.csv -o "retrained-$seed.npz" --seed "$seed"
done
run forget compare model.npz retrained-1.npz retrained-2.npz retrained-3.npz --records deletions.csv \
    --original original.npz
