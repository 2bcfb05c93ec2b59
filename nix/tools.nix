# Programs that labs and tests run beside ours; `cargo xtask setup` looks for the same.
{ pkgs }:
rec {
  lab = with pkgs; [
    postgresql
    wireguard-go
    wireguard-tools
    nftables
    iproute2
    iputils
    util-linux
    openssl
    curl
  ];
  tests =
    lab
    ++ (with pkgs; [
      haproxy
      libfaketime
      nginx
    ]);
  guests = with pkgs; [
    qemu
    mmdebstrap
    e2fsprogs
  ];
}
