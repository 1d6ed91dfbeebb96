"""The frame rates of tasks whose simulators do not report one."""

GAME_FRAMES_PER_SECOND = 10.0  # grid worlds, which have no time of their own
OTHER_FRAMES_PER_SECOND = 30.0  # tasks about which nothing is known

# Steps in a second, by task: first the `render_fps` of Gymnasium's environments, which
# is real time for MuJoCo; then the control time steps of the DeepMind Control Suite
# (Tassa et al. 2018); then those of gymnax's environments that have one.
_TASKS = (
    (15, "Acrobot"),
    (20, "Ant HalfCheetah InvertedDoublePendulum Pusher"),
    (25, "InvertedPendulum Swimmer"),
    (30, "MountainCar MountainCarContinuous Pendulum"),
    (50, "BipedalWalker BipedalWalkerHardcore CarRacing CartPole LunarLander"),
    (50, "LunarLanderContinuous Reacher"),
    (1 / 0.015, "Humanoid HumanoidStandup"),
    (125, "Hopper Walker2d"),
    (25, "FishSwim FishUpright"),
    (1 / 0.03, "SwimmerSwimmer6 SwimmerSwimmer15 LqrLqr21 LqrLqr62"),
    (40, "HumanoidRun HumanoidRunPureState HumanoidStand HumanoidWalk"),
    (40, "WalkerRun WalkerStand WalkerWalk"),
    (50, "BallInCupCatch FingerSpin FingerTurnEasy FingerTurnHard HopperHop"),
    (50, "HopperStand HumanoidCMURun HumanoidCMUStand HumanoidCMUWalk"),
    (50, "PendulumSwingup PointMassEasy PointMassHard QuadrupedEscape"),
    (50, "QuadrupedFetch QuadrupedRun QuadrupedWalk ReacherEasy ReacherHard"),
    (1 / 0.015, "DogFetch DogRun DogStand DogTrot DogWalk"),
    (100, "AcrobotSwingup AcrobotSwingupSparse CartpoleBalance CartpoleSwingup"),
    (100, "CartpoleBalanceSparse CartpoleSwingupSparse CartpoleTwoPoles"),
    (100, "CartpoleThreePoles CheetahRun ManipulatorBringBall ManipulatorBringPeg"),
    (100, "ManipulatorInsertBall ManipulatorInsertPeg StackerStack2 StackerStack4"),
    (20, "Reacher-misc Swimmer-misc"),
    (30, "Pong-misc"),
)
RATES = {task: float(rate) for rate, tasks in _TASKS for task in tasks.split()}


def rate_of(task: str) -> float | None:
    """Return the steps that a task makes in a second of its own time, if known."""
    return RATES.get(task.rpartition("-v")[0] or task)
