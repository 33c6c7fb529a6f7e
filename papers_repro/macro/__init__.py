"""What the script on NAS-Bench-Macro imports: its file and the peers."""
