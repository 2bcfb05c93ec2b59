# Stands in for nixpkgs where it cannot be fetched, so that the flake's own expressions can be
# evaluated: a package is a derivation with its name and nothing in it. It says nothing about what
# nixpkgs has or does.
{
  outputs =
    _:
    let
      lib = import ./lib.nix;
      packagesFor = system: import ./packages.nix { inherit lib system; };
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ] packagesFor;
    };
}
