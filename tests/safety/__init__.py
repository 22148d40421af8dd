"""What operators rely on: nothing is lost, nothing left behind, nobody let in."""
