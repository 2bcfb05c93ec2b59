# All that `cargo xtask demo` and `cargo xtask test` need, and what changes are made with.
{ pkgs }:
let
  tools = import ./tools.nix { inherit pkgs; };
in
pkgs.mkShell {
  packages =
    tools.tests
    ++ tools.guests
    ++ (with pkgs; [
      cargo
      rustc
      clippy
      rustfmt
      rust-analyzer
      cargo-nextest
      cargo-deny
      nixfmt
      deadnix
    ]);
  env = {
    RUST_SRC_PATH = "${pkgs.rustPlatform.rustLibSrc}";
    SSL_CERT_FILE = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
  };
}
