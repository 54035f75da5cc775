//! A two-phase sink on SQLite: rows come into a table exactly once.
//!
//! | call | does to the database, each time in one transaction |
//! |---|---|
//! | `pre_commit` | writes the rows to a staging table of the sink's |
//! | `commit` | inserts them into the user's table, sets the subtask's mark to their checkpoint, and deletes them from the staging table; nothing if the mark is there already |
//! | `abort` | deletes them from the staging table |
//! | `recover` | commits what the checkpoint names, and makes the staging table anew |
//!
//! Since a transaction of the database moves rows and mark together, a mark tells for certain what was published. A subtask commits in the order of its checkpoints, and
//! an attempt begins with everything committed that those before have left; so the newest mark of each subtask is enough.
//!
//! The database belongs to one job, which may have several such sinks there. What it does not notice: a copy of the whole job that runs beside it
//! on the same database.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cofferdam::prelude::*;
use cofferdam_engine::JobId;
use parking_lot::Mutex;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params_from_iter,
    types::{ToSqlOutput, Value},
};
use serde::{Deserialize, Serialize};

/// Of the sink's own tables.
const VERSION: i64 = 1;

/// Inserts records into a table of a SQLite database, exactly once. See the [module](self).
///
/// ```
/// use cofferdam_examples::sqlite_sink::SqliteSink;
///
/// struct Word {
///     text: String,
///     count: i64,
/// }
///
/// let sink = SqliteSink::new(
///     "words.db",
///     "CREATE TABLE IF NOT EXISTS words(text TEXT, count INTEGER)",
///     "INSERT INTO words VALUES(?1, ?2)",
///     |word: &Word| vec![word.text.clone().into(), word.count.into()],
/// );
/// ```
pub struct SqliteSink<T> {
    path: PathBuf,
    create: String,
    insert: String,
    values: Arc<dyn Fn(&T) -> Vec<Value> + Send + Sync>,
    lock_timeout: Duration,
    /// Opened by the first call that needs it.
    connection: Mutex<Option<Connection>>,
}

/// Takes one subtask's records for a [`SqliteSink`].
pub struct SqliteWriter<T> {
    operator: String,
    attempt: Attempt,
    subtask: SubtaskIndex,
    rows: Vec<T>,
}

/// What a [`SqliteWriter`] hands over on a barrier.
pub struct SqliteFrozen<T> {
    transaction: SqliteTransaction,
    rows: Vec<T>,
}

/// Names staged rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SqliteTransaction {
    operator: String,
    attempt: Attempt,
    checkpoint: CheckpointId,
    subtask: SubtaskIndex,
    rows: u64,
}

impl<T> SqliteSink<T> {
    /// Publishes into the database in the file `path`, which is made if it is not there. `create` makes the table, and does nothing if there is one; it runs at
    /// every start. `insert` takes one record, by as many parameters (`?1`, `?2`, ...) as `values` gives values. It may also update: it
    /// runs once for each record.
    pub fn new(
        path: impl AsRef<Path>,
        create: &str,
        insert: &str,
        values: impl Fn(&T) -> Vec<Value> + Send + Sync + 'static,
    ) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            create: create.to_owned(),
            insert: insert.to_owned(),
            values: Arc::new(values),
            lock_timeout: Duration::from_secs(5),
            connection: Mutex::new(None),
        }
    }

    /// Waits so long for another process that is writing to the database; 5 s unless set.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Calls `code` in a transaction, which is rolled back if that fails. `what` is for the error.
    fn transact<R>(
        &self,
        what: &str,
        code: impl FnOnce(&Transaction<'_>) -> Result<R, BoxError>,
    ) -> Result<R, BoxError> {
        let mut slot = self.connection.lock();
        let run = || {
            let connection = match slot.as_mut() {
                Some(connection) => connection,
                None => slot.insert(self.connect(OpenFlags::SQLITE_OPEN_CREATE)?),
            };
            // From its beginning the only writer: whoever else writes is waited for here, and nowhere in the midst of it.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = code(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|error| self.explain(what, error))
    }

    /// `flags` beside those that every connection has.
    fn connect(&self, flags: OpenFlags) -> Result<Connection, BoxError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.lock_timeout)?;
        if flags.contains(OpenFlags::SQLITE_OPEN_CREATE) {
            // Readers do not hold up the sink, nor it them.
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // A commit is on the disk when it returns.
            connection.pragma_update(None, "synchronous", "FULL")?;
        }
        Ok(connection)
    }

    fn explain(&self, what: &str, error: BoxError) -> BoxError {
        // A refusal says everything itself.
        if error.is::<Error>() {
            return error;
        }
        let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
        let why = match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                let waited = self.lock_timeout.as_secs_f64();
                format!("another process has locked it, and still had after {waited} s: end what writes to it there")
            }
            Some(ErrorCode::NotADatabase) => {
                "the file is no SQLite database: name another one, or move it away".to_string()
            }
            _ => error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
        };
        format!("cannot {what} in {}: {why}", self.place_name()).into()
    }

    fn place_name(&self) -> String {
        format!("the database '{}'", self.path.display())
    }

    fn parameters(&self, transaction: &Transaction<'_>) -> Result<usize, BoxError> {
        Ok(transaction.prepare_cached(&self.insert)?.parameter_count())
    }

    /// Writes rows to the staging table.
    fn stage(&self, transaction: &Transaction<'_>, frozen: &SqliteFrozen<T>) -> Result<(), BoxError> {
        let SqliteFrozen { transaction: id, rows } = frozen;
        let parameters = self.parameters(transaction)?;
        let places = vec!["?"; KEY.len() + 1 + parameters].join(", ");
        let insert = format!("INSERT INTO {} VALUES({places})", staging(&id.operator));
        let mut insert = transaction.prepare_cached(&insert)?;
        for (number, row) in (0i64..).zip(rows) {
            let values = (self.values)(row);
            if values.len() != parameters {
                let given = values.len();
                let insert = &self.insert;
                return Err(format!("{given} values were given for the {parameters} parameters of \"{insert}\"").into());
            }
            let key = id.key().into_iter().chain([number]).map(Value::from);
            insert.execute(params_from_iter(key.chain(values)))?;
        }
        Ok(())
    }

    /// Moves staged rows into the user's table, unless they have been.
    fn publish(&self, transaction: &Transaction<'_>, id: &SqliteTransaction) -> Result<(), BoxError> {
        let subtask = (&id.operator, id.subtask.0);
        let mark = "SELECT checkpoint FROM cofferdam_marks WHERE operator = ?1 AND subtask = ?2";
        let mark: Option<i64> = transaction.query_row(mark, subtask, |row| row.get(0)).optional()?;
        if mark.is_some_and(|mark| mark >= integer(id.checkpoint.0)) {
            return Ok(());
        }
        let mut insert = transaction.prepare_cached(&self.insert)?;
        let select = format!("SELECT * FROM {} WHERE {} ORDER BY row", staging(&id.operator), of_key());
        let mut select = transaction.prepare_cached(&select)?;
        let mut staged = select.query(id.key())?;
        let mut found = 0;
        while let Some(row) = staged.next()? {
            for parameter in 1..=insert.parameter_count() {
                let value = ToSqlOutput::Borrowed(row.get_ref(KEY.len() + parameter)?);
                insert.raw_bind_parameter(parameter, value)?;
            }
            insert.raw_execute()?;
            found += 1;
        }
        if found != id.rows {
            let (rows, checkpoint) = (id.rows, id.checkpoint);
            return Err(format!(
                "checkpoint {checkpoint} has staged {rows} rows, and {found} of them are there: the database is not the one, or an older copy \
                 of it; bring back the one that belongs to the state"
            )
            .into());
        }
        let mark = "INSERT OR REPLACE INTO cofferdam_marks(operator, subtask, checkpoint) VALUES(?1, ?2, ?3)";
        transaction.execute(mark, (&id.operator, id.subtask.0, integer(id.checkpoint.0)))?;
        unstage(transaction, id)
    }

    /// Rows of a checkpoint behind the one restored have been published: they would be a second time.
    fn refuse_older_state(&self, transaction: &Transaction<'_>, context: &SinkContext) -> Result<(), BoxError> {
        let Some(newest) = newest_mark(transaction, context)?.filter(|newest| *newest > integer(context.restored.0))
        else {
            return Ok(());
        };
        let (place, state, now) = (self.place_name(), &context.state_place, context.restored);
        Err(Error::refused(format!(
            "sink '{}': {place} holds rows of checkpoint {newest}, and the state in {state} is that of checkpoint {now}: it went back in time, and going on \
             would publish rows a second time. Bring back the newer state, or delete the state and move the database away to start over",
            context.operator
        ))
        .into())
    }
}

/// The newest checkpoint of which anything is published.
fn newest_mark(connection: &Connection, context: &SinkContext) -> rusqlite::Result<Option<i64>> {
    let newest = "SELECT max(checkpoint) FROM cofferdam_marks WHERE operator = ?1";
    connection.query_row(newest, [&context.operator], |row| row.get(0))
}

/// Whether a transaction can be published, or was.
fn is_staged_or_published(connection: &Connection, id: &SqliteTransaction) -> Result<bool, BoxError> {
    let mark = "SELECT checkpoint FROM cofferdam_marks WHERE operator = ?1 AND subtask = ?2";
    let mark: Option<i64> = connection.query_row(mark, (&id.operator, id.subtask.0), |row| row.get(0)).optional()?;
    if mark.is_some_and(|mark| mark >= integer(id.checkpoint.0)) {
        return Ok(true);
    }
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = ?1";
    if connection.query_row(table, [staging(&id.operator)], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(false);
    }
    let count = format!("SELECT count(*) FROM {} WHERE {}", staging(&id.operator), of_key());
    let staged: i64 = connection.query_row(&count, id.key(), |row| row.get(0))?;
    Ok(staged == integer(id.rows))
}

/// The key of a staging table, before the number of the row.
const KEY: [&str; 3] = ["checkpoint", "subtask", "attempt"];

impl SqliteTransaction {
    fn key(&self) -> [i64; KEY.len()] {
        [integer(self.checkpoint.0), i64::from(self.subtask.0), integer(self.attempt.0)]
    }
}

fn of_key() -> String {
    KEY.map(|column| format!("{column} = ?")).join(" AND ")
}

/// The name of an operator's staging table, quoted.
/// In hexadecimal digits, since to SQLite names that differ in their case are the same.
fn staging(operator: &str) -> String {
    let digits: String = operator.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("cofferdam_staged_{digits}")
}

fn unstage(transaction: &Transaction<'_>, id: &SqliteTransaction) -> Result<(), BoxError> {
    let delete = format!("DELETE FROM {} WHERE {}", staging(&id.operator), of_key());
    transaction.prepare_cached(&delete)?.execute(id.key())?;
    Ok(())
}

/// What SQLite has for a number. Ids count up from 0, and no job lives that long.
fn integer(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// Whose the database is.
fn owner_in(connection: &Connection) -> Result<Ownership, BoxError> {
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = 'cofferdam_owner'";
    if connection.query_row(table, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(Ownership::Unclaimed);
    }
    let row = connection.query_row("SELECT version, job FROM cofferdam_owner", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    });
    match row? {
        (VERSION, job) => Ok(Ownership::Claimed(JobId(u128::from_str_radix(&job, 16)?))),
        (version, _) => Err(format!(
            "its tables 'cofferdam_...' are of version {version}, and this program knows version {VERSION}: it was written by another one"
        )
        .into()),
    }
}

impl<T: Send + 'static> TwoPhaseSink<T> for SqliteSink<T> {
    type Writer = SqliteWriter<T>;
    type Frozen = SqliteFrozen<T>;
    type Transaction = SqliteTransaction;
    type WriterState = ();

    fn owner(&self) -> Result<Ownership, BoxError> {
        if !self.path.exists() {
            return Ok(Ownership::Unclaimed);
        }
        let owner = self.connect(OpenFlags::empty()).and_then(|connection| owner_in(&connection));
        owner.map_err(|error| self.explain("find out the owner", error))
    }

    fn place(&self) -> String {
        self.place_name()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        self.transact("claim a place", |transaction| {
            match owner_in(transaction)? {
                Ownership::Claimed(owner) if owner != context.job => {
                    return Err(format!("it belongs to job {owner}, and this is job {}", context.job).into());
                }
                Ownership::Claimed(_) => {}
                Ownership::Unclaimed | Ownership::Untracked => {
                    transaction.execute_batch(
                        "CREATE TABLE cofferdam_owner(version INTEGER NOT NULL, job TEXT NOT NULL);
                         CREATE TABLE cofferdam_marks(
                             operator TEXT NOT NULL, subtask INTEGER NOT NULL, checkpoint INTEGER NOT NULL, PRIMARY KEY(operator, subtask)
                         ) WITHOUT ROWID;",
                    )?;
                    let owner = "INSERT INTO cofferdam_owner VALUES(?1, ?2)";
                    transaction.execute(owner, (VERSION, format!("{:032x}", context.job.0)))?;
                }
            }
            transaction.execute_batch(&self.create)?;
            // An error in it is one now, and not when there are rows.
            self.parameters(transaction).map(drop)
        })
    }

    fn recover(
        &self,
        context: &SinkContext,
        mut transactions: Vec<SqliteTransaction>,
        _writers: &[()],
    ) -> Result<(), BoxError> {
        transactions.sort_by_key(|transaction| transaction.checkpoint);
        self.transact("take up the output", |transaction| {
            self.refuse_older_state(transaction, context)?;
            transactions.iter().try_for_each(|id| self.publish(transaction, id))?;
            // What is still staged is named by nobody.
            let table = staging(&context.operator);
            let key = KEY.join(", ");
            let values: String = (1..=self.parameters(transaction)?).map(|number| format!("value{number}, ")).collect();
            transaction.execute_batch(&format!(
                "DROP TABLE IF EXISTS {table};
                 CREATE TABLE {table}({key}, row, {values}PRIMARY KEY({key}, row)) WITHOUT ROWID;"
            ))?;
            Ok(())
        })
    }

    fn has_prepared(&self, _: &SinkContext, id: &SqliteTransaction) -> Result<bool, BoxError> {
        if self.owner()? == Ownership::Unclaimed {
            return Ok(false);
        }
        let look = self.connect(OpenFlags::empty()).and_then(|connection| is_staged_or_published(&connection, id));
        look.map_err(|error| self.explain("look for staged rows", error))
    }

    fn published(&self, context: &SinkContext) -> Result<Option<CheckpointId>, BoxError> {
        let newest = self.connect(OpenFlags::empty()).and_then(|connection| Ok(newest_mark(&connection, context)?));
        let newest = newest.map_err(|error| self.explain("find out what is published", error))?;
        Ok(newest.map(|newest| CheckpointId(newest as u64)))
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        _restored: Vec<()>,
    ) -> Result<SqliteWriter<T>, BoxError> {
        Ok(SqliteWriter { operator: context.operator.clone(), attempt: context.attempt, subtask, rows: Vec::new() })
    }

    fn pre_commit(&self, frozen: SqliteFrozen<T>) -> Result<Option<SqliteTransaction>, BoxError> {
        if frozen.rows.is_empty() {
            return Ok(None);
        }
        self.transact("stage rows", |transaction| self.stage(transaction, &frozen))?;
        Ok(Some(frozen.transaction))
    }

    fn commit(&self, id: &SqliteTransaction) -> Result<(), BoxError> {
        self.transact("publish rows", |transaction| self.publish(transaction, id))
    }

    fn abort(&self, id: &SqliteTransaction) -> Result<(), BoxError> {
        self.transact("give up rows", |transaction| unstage(transaction, id))
    }
}

impl<T: Send + 'static> SinkWriter<T> for SqliteWriter<T> {
    type Frozen = SqliteFrozen<T>;
    type State = ();

    fn write(&mut self, record: T) -> Result<(), BoxError> {
        self.rows.push(record);
        Ok(())
    }

    fn freeze(&mut self, checkpoint: CheckpointId, _last: bool) -> Result<(SqliteFrozen<T>, ()), BoxError> {
        let rows = std::mem::take(&mut self.rows);
        let (operator, attempt, subtask) = (self.operator.clone(), self.attempt, self.subtask);
        let transaction = SqliteTransaction { operator, attempt, checkpoint, subtask, rows: rows.len() as u64 };
        Ok((SqliteFrozen { transaction, rows }, ()))
    }
}
