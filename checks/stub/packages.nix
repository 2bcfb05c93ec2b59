# Packages by name. A name that is not here is an error, so each new one is looked up in nixpkgs and
# added by hand.
{ lib, system }:
let
  package =
    name: extra:
    derivation {
      inherit name system;
      builder = "/bin/sh";
      outputs = [ "out" ];
    }
    // {
      nativeBuildInputs = [ ];
      overrideAttrs = f: package ((f { nativeBuildInputs = [ ]; }).pname or name) { };
    }
    // extra;
  build =
    attributes:
    package (attributes.pname or attributes.name) {
      meta = attributes.meta or { };
      # What is given must evaluate, not only what a stand-in uses.
      checked = builtins.deepSeq (removeAttrs attributes [ "meta" ]) true;
    };
  names = [
    "cargo"
    "cargo-deny"
    "cargo-nextest"
    "clippy"
    "curl"
    "deadnix"
    "e2fsprogs"
    "haproxy"
    "iproute2"
    "iputils"
    "mmdebstrap"
    "nftables"
    "nginx"
    "nixfmt"
    "nixfmt-tree"
    "openssl"
    "postgresql"
    "qemu"
    "rust-analyzer"
    "rustc"
    "rustfmt"
    "util-linux"
    "wireguard-go"
    "wireguard-tools"
    "cacert"
  ];
in
lib.genAttrs names (name: package name { })
// {
  inherit lib;
  stdenv.hostPlatform = { inherit system; };
  rustPlatform = {
    buildRustPackage = build;
    rustLibSrc = package "rust-lib-src" { };
  };
  mkShell = attributes: build (attributes // { name = "shell"; });
  runCommand =
    name: attributes: _script:
    build (attributes // { inherit name; });
  writeShellApplication = attributes: build attributes;
}
