use sextant_edge::hello::builder::HelloBuilder;

use crate::support::{Backend, Edge, Port, talk, tls};

#[test]
fn the_sizes_of_hellos_have_a_last_class_that_holds_all() {
    let (backend, port) = (Backend::start("backend"), Port::reserve());
    let edge = Edge::with_routes(&tls(&port, "a.example", &backend));
    let hello = HelloBuilder::for_name("a.example").build();
    talk(port.address, &hello, 7).expect("served");
    for name in ["bucket{le=\"65536.0\"}", "bucket{le=\"+Inf\"}", "count"] {
        let hellos = edge.metric(&format!("sextant_edge_hello_size_bytes_{name}"));
        assert!((hellos - 1.0).abs() < f64::EPSILON, "{hellos} in {name}");
    }
}
