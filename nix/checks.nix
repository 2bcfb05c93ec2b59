# What `nix flake check` builds: every package, the development shell, and the rules of the house.
{
  pkgs,
  packages,
  source,
}:
let
  inherit (pkgs) lib;
  cargo =
    name: command:
    packages.all.overrideAttrs (old: {
      pname = "sextant-${name}";
      nativeBuildInputs = old.nativeBuildInputs ++ [
        pkgs.clippy
        pkgs.rustfmt
      ];
      buildPhase = command;
      doCheck = false;
      installPhase = "touch $out";
      postInstall = "";
    });
  text =
    name: inputs: command:
    pkgs.runCommand "sextant-${name}" { nativeBuildInputs = inputs; } ''
      cd ${source}
      ${command}
      touch $out
    '';
in
lib.mapAttrs' (name: lib.nameValuePair "package-${name}") packages
// {
  dev-shell = import ./dev-shell.nix { inherit pkgs; };
  clippy = cargo "clippy" "cargo clippy --offline --workspace --all-targets -- -D warnings";
  fmt = cargo "fmt" "cargo fmt --all --check";
  nixfmt = text "nixfmt" [ pkgs.nixfmt ] "find . -name '*.nix' -exec nixfmt --check {} +";
  deadnix = text "deadnix" [ pkgs.deadnix ] "deadnix --fail .";
}
