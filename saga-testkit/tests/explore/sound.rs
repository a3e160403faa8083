//! Sagas without a bug.

use saga_testkit::explore;

use super::shop::scene;

#[test]
fn a_sound_saga_passes_whatever_goes_wrong() {
    for seed in ["v1:", "v1:", "v1:run:capture#1=unknown-late", "v1:write#2=crash-after", "v1:run:send#1=refused"] {
        let began = std::time::Instant::now();
        explore(scene).replay(seed).unwrap();
        println!("{seed} {:?}", began.elapsed());
    }
    let explored = explore(scene).run().unwrap();
    println!("{explored} {:?}", explored.runs_by_depth);
    println!("{:?}", explored.fates);
}
