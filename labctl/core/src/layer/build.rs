//! Making a layer: a builder is forked from the stock template, runs the baked tasks, and is saved.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use labctl_guest::{Agent, Link};
use labctl_lab::event::{Each, Event};
use labctl_lab::home::Home;
use labctl_lab::identity::{entropy, now_ns};
use labctl_lab::record::Record;
use labctl_lab::template::{Shape, Template, Templates};
use labctl_lab::{Failure, Kind};
use labctl_machine::driver::{Orphan, Running, Saving};
use labctl_machine::machine::{Files, Machine};
use labctl_machine::registry;
use labctl_net::{PortConfig, Switch, SwitchConfig};
use labctl_provision::{Target, TargetError};
use labctl_spec::lab::Node;
use labctl_template::{clear, nobody, put, save, seal, stopped, unfinished};
use labctl_wire::{Identity, Put};

use super::recorder::Recorder;
use super::{Pace, Reasons, Step, bake, plan_one};
use crate::baked::{Known, Layer, marker};
use crate::provisioning::channel::{Channel, Open, Opened};

/// How long the builder's agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the layer for this node, and for all with the same baked tasks; `chain` is how far the tasks are known. Returns the reason if the
/// tasks cannot be baked.
pub async fn make(
    home: &Home,
    record: &Record,
    node: &Node,
    stock: &Template,
    chain: &str,
    each: Each<'_>,
) -> Result<Result<(), String>, Failure> {
    let templates = Templates::of(home);
    let _turn = templates.turn(chain).await?;
    // Another lab may have needed the same layer and made it meanwhile.
    let now = plan_one(home, &record.lab, &node.name, stock, &Arc::new(Known::load(home)), each).await?;
    if now.chain != chain || now.layer(home).is_some() {
        return Ok(Ok(()));
    }
    unfinished::sweep(home);
    let what = format!("layer of {}", node.name);
    let step = |step: &str| each(Event::Work { what: what.clone(), step: step.to_owned(), progress: None });
    let shape = stock.shape()?;
    let building = templates.building(chain);
    let sockets = home.scratch().join(format!("l-{}", &chain[..8]));
    clear(&shape, &building, &sockets).await?;
    let builder = Builder { home, record, node, stock, shape: &shape, building: &building };
    let made = builder.run(&sockets, &step, each).await;
    let _ = fs::remove_dir_all(&sockets);
    if !matches!(made, Ok(Ok(_))) {
        let _ = fs::remove_dir_all(&building);
    }
    let place = match made? {
        Ok(Some(place)) => place,
        Ok(None) => {
            fs::remove_dir_all(&building).map_err(Failure::io(building.display()))?;
            return Ok(Ok(()));
        }
        Err(why) => return Ok(Err(why)),
    };
    match templates.find(&place.key) {
        Some(_) => fs::remove_dir_all(&building).map_err(Failure::io(building.display()))?,
        None => put(home, &building, &place, each)?,
    }
    each(Event::Note {
        text: format!("layer {}: ready; it contains the tasks that {} shares with other nodes", &place.key[..12], node.name),
    });
    Ok(Ok(()))
}

struct Builder<'a> {
    home: &'a Home,
    record: &'a Record,
    node: &'a Node,
    stock: &'a Template,
    shape: &'a Shape,
    building: &'a Path,
}

type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl Builder<'_> {
    /// Returns the layer's template; none if nothing was changed.
    async fn run(&self, sockets: &Path, step: Say<'_>, each: Each<'_>) -> Result<Result<Option<Template>, String>, Failure> {
        step("forking a builder");
        let (ram, disk) = (self.building.join("ram"), self.building.join("disk.qcow2"));
        let (from, to) = (self.stock.ram(), ram.clone());
        let copied = tokio::task::spawn_blocking(move || copy_sparse(&from, &to)).await;
        copied.map_err(|why| Failure::new(Kind::Internal, why.to_string()))?.map_err(Failure::io(ram.display()))?;
        fs::copy(self.stock.overlay(), &disk).map_err(Failure::io(disk.display()))?;
        fs::write(self.building.join("initrd"), b"none").map_err(Failure::io(self.building.display()))?;
        let machine = self.shape.machine(&Files::new(sockets, 0, self.building), ram, disk);
        let state = self.stock.state();
        let state = File::open(&state).map_err(Failure::io(state.display()))?;
        let loads = registry::of(&machine)?.loads_for("a layer")?;
        let said = || format!("see {} and {}", machine.files.console_log.display(), machine.files.log.display());
        let builder = loads.load(&machine, state, Saving::WithoutSharedMemory, Orphan::Dies).await;
        let builder = builder.map_err(|why| Failure::from(why).hint(said()))?;
        let made = tokio::select! {
            made = self.bake(&*builder, &machine, step, each) => made,
            why = stopped(&*builder) => Err(why),
        };
        builder.end().await;
        let (key, layer) = match made.map_err(|why| Failure { hint: why.hint.clone().or_else(|| Some(said())), ..why })? {
            Ok(made) => made,
            Err(why) => return Ok(Err(why)),
        };
        if !layer.steps.iter().any(Step::changed) {
            Known::keep(self.stock, &layer.steps)?;
            return Ok(Ok(None));
        }
        step("writing");
        layer.save(self.building)?;
        let place = Templates::of(self.home).place(&key);
        seal(self.building, self.shape, &place).await?;
        Ok(Ok(Some(place)))
    }

    /// Runs the baked tasks; returns the resulting key.
    async fn bake(
        &self,
        builder: &dyn Running,
        machine: &Machine,
        step: Say<'_>,
        each: Each<'_>,
    ) -> Result<Result<(String, Layer), String>, Failure> {
        let network = self.record.lab.network.clone();
        let switch = Switch::start(SwitchConfig { network: network.clone(), names: Vec::new(), upstream: Vec::new() });
        let port =
            PortConfig { name: self.node.name.clone(), mac: machine.mac, address: self.node.address, socket: machine.files.net.clone() };
        switch.attach(port).await;
        let link = Link::connect(&machine.files.agent).await.map_err(Failure::io(machine.files.agent.display()))?;
        builder.resume().await?;
        link.up_within(PATIENCE).await?;
        let agent = Agent::new(link);
        let own = self.record.identity(self.node)?;
        let identity = Identity {
            // Packages come the same way as on the nodes.
            address6: own.address6,
            proxy: own.proxy,
            authorities: own.authorities,
            mac: machine.mac.to_string(),
            address: Some(self.node.address),
            prefix: network.subnet.prefix_len(),
            gateway: Some(network.gateway),
            entropy: entropy(),
            clock_ns: now_ns(),
            ..nobody()
        };
        agent.take_identity(identity.clone()).await?;
        step("provisioning it");
        let (key, steps) = match self.provision(&agent, each).await? {
            Ok(done) => done,
            Err(why) => return Ok(Err(why)),
        };
        let layer = Layer { stock: self.stock.key.clone(), made: SystemTime::now(), steps };
        if !layer.steps.iter().any(Step::changed) {
            return Ok(Ok((key, layer)));
        }
        if identity.proxy.is_some() || !identity.authorities.is_empty() {
            // The layer is for other labs as well: they have other proxies, and a password must not stay in it.
            let without = Identity { proxy: None, authorities: Vec::new(), entropy: entropy(), clock_ns: now_ns(), ..identity };
            agent.take_identity(without).await?;
        }
        let text = key.clone().into_bytes();
        let put = Put { path: marker(), mode: 0o600, size: text.len() as u64, ..Put::default() };
        agent.put(put, &text[..]).await?;
        step("saving");
        save(builder, machine, &agent, self.building).await?;
        switch.shutdown().await;
        Ok(Ok((key, layer)))
    }

    async fn provision(&self, agent: &Agent, each: Each<'_>) -> Result<Result<(String, Vec<Step>), String>, Failure> {
        let channel = Arc::new(Channel::new(Forked(agent.clone()))) as Arc<dyn Target>;
        let reasons = Reasons::default();
        let recorder = Arc::new(Recorder::new(channel, &self.stock.key, reasons.task.clone()));
        let (lab, name) = (&self.record.lab, &self.node.name);
        if !bake(self.home, lab, name, recorder.clone(), reasons.events(), Pace::Real, each).await? {
            return Ok(Err(reasons.of(name)));
        }
        let (key, steps) = recorder.notes();
        // Runs them again, against the notes: tasks with different results each time would never find their layer.
        let again = plan_one(self.home, lab, name, self.stock, &Arc::new(Known::of(steps.clone())), each).await?;
        Ok(match again.chain == key {
            true => Ok((key, steps)),
            false => Err("its baked tasks do not send the same content each time".to_owned()),
        })
    }
}

/// The builder's agent: there is only one channel to it.
struct Forked(Agent);

impl Open for Forked {
    fn name(&self) -> String {
        "builder".to_owned()
    }

    fn open(&self) -> BoxFuture<'_, Result<Opened, TargetError>> {
        Box::pin(async { Ok(Opened { agent: self.0.clone(), state: labctl_wire::STATE.to_owned() }) })
    }

    fn reboots(&self) -> bool {
        false
    }
}

/// Copies a file, leaving holes where it contains only zeroes.
fn copy_sparse(from: &Path, to: &Path) -> std::io::Result<()> {
    let (mut source, mut copy) = (File::open(from)?, File::create(to)?);
    let size = source.metadata()?.len();
    copy.set_len(size)?;
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = source.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        match piece[..read].iter().all(|byte| *byte == 0) {
            true => drop(copy.seek(SeekFrom::Current(i64::try_from(read).unwrap_or_default()))?),
            false => copy.write_all(&piece[..read])?,
        }
    }
}
